"""Ctrl-C, SIGTERM, a callable that says stop, and runs that are made longer: where they go on, and in which bits."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from metatc2.cli._stop_on_signal import StopOnSignal
from metatc2.errors import InputError
from metatc2.experiment import run as runs
from metatc2.experiment.config import Config, fingerprint, method_key, override, write_config
from metatc2.experiment.transfer import transfer
from metatc2.training import Trainer, TrainerOptions
from metatc2.training.run_folder import RunFolder, State

from ..command_line import call
from .conftest import configured
from .test_cut_at_any_write import Numbers, Walk

pytestmark = pytest.mark.filterwarnings("ignore::metatc2.training.HealthWarning")


def after(calls: int) -> Callable[[], bool]:
    """Says stop when it is asked for the (calls + 1)-th time."""
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > calls

    return stop


@pytest.mark.parametrize("steps", [0, 2])
def test_a_run_that_is_asked_to_stop_goes_on_to_the_same_bits(config: Config, tmp_path: Path, steps: int) -> None:
    config = override(config, ["trainer.checkpoint_every=100"])
    whole = runs.pretrain(config, tmp_path / "whole")
    path = tmp_path / "run"
    with pytest.raises(runs.TrainingStopped, match=rf"step {steps} of 3.*metatc2 pretrain --resume {path}"):
        runs.pretrain(config, path, stop=after(steps))
    assert RunFolder(path).state is State.CUT
    assert runs.resume(path).encoder_sha256 == whole.encoder_sha256
    one, two = (
        [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for folder in (tmp_path / "whole", path)
    )
    assert one == two


def test_a_trainer_without_a_folder_stops_too() -> None:
    trainer = Trainer(Walk(), Numbers(), TrainerOptions(steps=5))
    trainer.fit(stop=after(2))
    assert trainer.step == 2
    trainer.fit()
    assert trainer.step == 5


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_checkpoints_first(
    number: int,
    status: int,
    config: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Sent to this process in the midst of the second step."""
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    step = Trainer.train_step

    def signalled(self: Trainer, at: int, episode: Any) -> Any:
        if at == 1:
            os.kill(os.getpid(), number)
        return step(self, at, episode)

    path = tmp_path / "run"
    write_config(config, tmp_path / "task.toml")
    text = (tmp_path / "task.toml").read_text()
    (tmp_path / "task.toml").write_text(
        "\n".join(line for line in text.splitlines() if not line.startswith("name = ") or "conv4" in line)
    )
    words = ["pretrain", str(tmp_path / "task.toml"), "--run", str(path), "--set", "trainer.checkpoint_every=100"]
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", signalled)
        assert call(*words) == status
    said = capfd.readouterr().err
    assert "stopping after this step" in said
    assert "metatc2: stopped: step 2 of 3 is saved" in " ".join(said.split())
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before
    assert RunFolder(path).state is State.CUT
    assert call("pretrain", "--resume", str(path)) == 0
    assert runs.load_run(path).steps == 3


def test_a_second_signal_and_one_before_training_end_at_once() -> None:
    with StopOnSignal() as stop:
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert not stop()
        os.kill(os.getpid(), signal.SIGINT)
        assert stop()
        assert stop.status == 130
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(SystemExit) as left:
            os.kill(os.getpid(), signal.SIGTERM)
        assert left.value.code == 143


@pytest.mark.slow
def test_a_longer_run_follows_the_schedule_of_its_new_length(config: Config, tmp_path: Path) -> None:
    """Against a loop that is told the learning rate of every step."""
    path = tmp_path / "run"
    short = runs.pretrain(config, path)
    rows = transfer(short)
    longer = runs.resume(path, steps=6)
    oracle, _ = runs._trainer(config, RunFolder(tmp_path / "oracle"), None, False)
    three = [oracle.options.learning_rate(step) for step in range(3)]
    six, _ = runs._trainer(override(config, ["trainer.steps=6"]), RunFolder(tmp_path / "x"), None, False)
    rates = three + [six.options.learning_rate(step) for step in range(3, 6)]
    torch.manual_seed(config.trainer.seed)
    by_hand, _ = runs._trainer(config, RunFolder(tmp_path / "oracle"), None, False)
    by_hand.learner.train()

    class Told(TrainerOptions):
        def learning_rate(self, step: int) -> float:
            return rates[step]

    by_hand = Trainer(by_hand.learner, by_hand.sampler, Told(**asdict(by_hand.options)))
    for step in range(6):
        by_hand.train_step(step, by_hand.sampler.sample())
    for name, tensor in by_hand.learner.encoder.state_dict().items():  # type: ignore[union-attr]
        assert torch.equal(tensor, longer.encoder.state_dict()[name]), name
    assert longer.steps == 6
    assert longer.config.trainer.lengthened == (3,)
    # It is another method than 6 steps at once, and its results are not those of the shorter run.
    vmap_chunk = override(config, ["trainer.steps=6"])
    assert len({fingerprint(c) for c in (config, vmap_chunk, longer.config)}) == 3
    assert method_key(longer.config) != method_key(vmap_chunk)
    assert not (path / "transfer.json").exists()
    assert runs.load_run(path / "at-3").encoder_sha256 == short.encoder_sha256
    assert len(json.loads((path / "at-3" / "transfer.json").read_text())) == len(rows)


@pytest.fixture(scope="module")
def expected(noise: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The encoder of a run that was made longer and never cut."""
    whole = tmp_path_factory.mktemp("longer") / "whole"
    runs.pretrain(configured(noise), whole)
    return runs.resume(whole, steps=5).encoder_sha256


@pytest.mark.slow
@pytest.mark.parametrize("cut", [2, 4])
def test_it_does_not_matter_where_a_longer_run_was_cut(config: Config, expected: str, tmp_path: Path, cut: int) -> None:
    path = tmp_path / "run"
    if cut < 3:  # made longer before its old length was reached
        with pytest.raises(runs.TrainingStopped):
            runs.pretrain(config, path, stop=after(cut))
    else:
        runs.pretrain(config, path)
        with pytest.raises(runs.TrainingStopped):
            runs.resume(path, steps=5, stop=after(cut - 3))
    assert runs.resume(path, steps=5).encoder_sha256 == expected
    assert len((path / "metrics.jsonl").read_text().splitlines()) == 5


def test_a_run_is_not_made_shorter(config: Config, tmp_path: Path) -> None:
    path = tmp_path / "run"
    done = runs.pretrain(config, path)
    with pytest.raises(InputError, match="a run of 3 steps; --steps 2 would shorten it"):
        runs.resume(path, steps=2)
    assert runs.resume(path, steps=3).encoder_sha256 == done.encoder_sha256
    (path / "at-3").mkdir()
    (path / "at-3" / "mine").write_text("")
    with pytest.raises(InputError, match="at-3 is in the way"):
        runs.resume(path, steps=4)
    assert runs.load_run(path).encoder_sha256 == done.encoder_sha256


def test_a_second_training_in_one_folder_is_refused(tmp_path: Path) -> None:
    Trainer(Walk(), Numbers(), TrainerOptions(steps=2), run=tmp_path).fit()
    with pytest.raises(InputError, match="holds a run at step 2, and this trainer is at step 0"):
        Trainer(Walk(), Numbers(), TrainerOptions(steps=2), run=tmp_path).fit()


def test_a_checkpoint_that_does_not_fit_leaves_the_learner_as_it_was(tmp_path: Path) -> None:
    class Wider(Walk):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.w = self.w, torch.nn.Parameter(torch.ones(4))

    made = Trainer(Walk(), Numbers(), TrainerOptions(steps=2), run=tmp_path, about={"tuple": (1, 2)})
    made.fit()
    again = Trainer(Walk(), Numbers(), TrainerOptions(steps=2), run=tmp_path, about={"tuple": (1, 2)})
    assert again.resume() == 2  # a tuple comes back as a list
    other = Trainer(Wider(), Numbers(), TrainerOptions(steps=2), run=tmp_path, about={"tuple": (1, 2)})
    before = {name: tensor.clone() for name, tensor in other.learner.state_dict().items()}
    with pytest.raises(InputError, match="does not fit this learner") as caught:
        other.resume()
    assert "\n" not in str(caught.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in other.learner.state_dict().items())


SCONTROL = """#!/bin/sh
cd "$(dirname "$0")" && echo "$@" >> asked
[ ! -e refuses ] || { echo "Job violates" >&2; exit 1; }
"""


@pytest.fixture
def scontrol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the PATH with a `scontrol` that writes down what it is asked; it refuses where a file `refuses` is there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "scontrol").write_text(SCONTROL)
    (folder / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    for name in ("SLURM_JOB_ID", "SLURM_JOB_NAME", "SLURM_PROCID", "RANK", "SLURM_ARRAY_JOB_ID", "SLURM_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "refuses", "status", "asked", "says"),
    [
        ({}, False, 0, "", "go on with"),
        ({"SLURM_JOB_ID": "17"}, False, 0, "requeue 17\n", "SLURM has queued job 17 again"),
        ({"SLURM_JOB_ID": "17", "SLURM_PROCID": "1"}, False, 0, "", "go on with"),
        ({"SLURM_JOB_ID": "17"}, True, 138, "requeue 17\n", "SLURM has not queued job 17 again: Job violates"),
    ],
)
def test_a_preempted_job_is_queued_again_and_goes_on_by_the_same_command(
    environment: dict[str, str],
    refuses: bool,
    status: int,
    asked: str,
    says: str,
    noise: Path,
    tmp_path: Path,
    scontrol: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    step = Trainer.train_step

    def signalled(self: Trainer, at: int, episode: Any) -> Any:
        if at == 1:
            os.kill(os.getpid(), signal.SIGUSR1)
        return step(self, at, episode)

    if refuses:
        (scontrol / "refuses").touch()
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    words = ["pretrain", f"npz:{noise}", "--steps", "3", "--run", str(tmp_path / "run"), "--set", "data.split=all"]
    words += ["data.image_size=16", "encoder.width=8", "episode.batch=8", "episode.tasks=2"]
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", signalled)
        assert call(*words) == status
    said = " ".join(capfd.readouterr().err.split())
    assert "metatc2: stopped: step 2 of 3 is saved" in said
    assert says in said
    assert (scontrol / "asked").read_text() == asked if asked else not (scontrol / "asked").exists()
    # As it stands the command is refused; told so, or run again by SLURM, it goes on, and then finds nothing to do.
    assert call(*words) == 2
    assert call(*words[:-1], "episode.tasks=1", "--auto-resume") == 2
    assert "episode.tasks: 2 in the checkpoint, 1 now" in " ".join(capfd.readouterr().err.split())
    if environment:
        monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    else:
        words.append("--auto-resume")
    assert call(*words) == 0
    assert runs.load_run(tmp_path / "run").steps == 3
    assert call(*words) == 0
    assert "had all its 3 steps already" in " ".join(capfd.readouterr().err.split())
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL


@pytest.mark.slow
def test_a_command_that_resumes_by_itself_also_starts(noise: Path, tmp_path: Path) -> None:
    words = [f"npz:{noise}", "--set", "data.split=all", "data.image_size=16", "encoder.width=8", "episode.batch=8"]
    options = ["--steps", "1", "--run", str(tmp_path / "run"), "--auto-resume"]
    assert call("pretrain", words[0], *options, *words[1:], "episode.tasks=2") == 0
    assert runs.resume(tmp_path / "run", steps=2).steps == 2
    # A run that was made longer is still the one that the command means.
    assert call("pretrain", words[0], *options, *words[1:], "episode.tasks=2") == 0
    assert runs.load_run(tmp_path / "run").steps == 2

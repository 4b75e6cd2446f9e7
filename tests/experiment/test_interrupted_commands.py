"""What is said when a command is stopped fits the command, and a run folder that vanished is called gone."""

from __future__ import annotations

import os
import shutil
import signal
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from metatc2.cli import _demo_runs as demo
from metatc2.cli._worker_pool import Stopped
from metatc2.errors import InputError
from metatc2.experiment import run as runs
from metatc2.experiment.config import Config
from metatc2.training import Trainer
from metatc2.training.run_folder import RunFolder, State

from ..command_line import call

pytestmark = pytest.mark.filterwarnings("ignore::metatc2.training.HealthWarning")
SMALL = ("trainer.steps=3", "episode.batch=8", "encoder.width=8", "trainer.checkpoint_every=100")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_demo_that_is_stopped_says_so_and_can_be_made_again(
    number: int, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begun: list[int] = []

    def in_this_process(job: Any, given: Any, workers: int, stop: Callable[[], bool]) -> Iterator[str]:
        begun.append(len(given))
        assert not stop()
        (given[0][2] / "config.toml").write_text("")  # as a run that was cut leaves it
        os.kill(os.getpid(), number)
        if stop():
            raise Stopped
        yield ""

    monkeypatch.setattr(demo, "run_jobs", in_this_process)
    for _ in range(2):
        assert call("demo", "--folder", str(tmp_path / "demo"), "--seeds", "1") == status
        said = " ".join(capsys.readouterr().err.split())
        assert "metatc2: stopped: the runs in" in said
        assert "to make them anew: metatc2 demo --folder" in said
    assert begun == [3, 3]


@pytest.mark.usefixtures("few_shapes")
def test_a_job_of_the_demo_stops_at_the_next_step_with_a_checkpoint(tmp_path: Path) -> None:
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 2

    threads = torch.get_num_threads()
    with warnings.catch_warnings(), pytest.raises(runs.TrainingStopped, match="step 2 of 3 is saved"):
        demo._job("plain", 0, tmp_path / "run", SMALL, stop)
    torch.set_num_threads(threads)
    assert RunFolder(tmp_path / "run").state is State.CUT


@pytest.mark.parametrize(
    ("words", "place", "sentence"),
    [
        (("transfer", "run"), "metatc2.experiment.transfer.transfer", "no row was written"),
        (("report", "run"), "metatc2.report.html.report.write_report", "nothing was written; call it again"),
        (("demo",), "metatc2.cli._demo_runs.run_demo", "metatc2 demo makes its runs anew"),
        (("pretrain", "--resume", "run"), "metatc2.experiment.run.resume", "metatc2 pretrain --resume DIR goes on"),
    ],
)
def test_what_ctrl_c_leaves_fits_the_command(
    words: tuple[str, ...],
    place: str,
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(*given: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(place, interrupted)
    assert call(*words) == 130
    assert f"metatc2: interrupted; {sentence}" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("log_every", [1, 2])
def test_a_run_folder_that_is_deleted_meanwhile_is_gone(
    log_every: int, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, step = tmp_path / "run", Trainer.train_step

    def deleting(self: Trainer, at: int, episode: Any) -> Any:
        if at == 1:
            shutil.rmtree(path)
        return step(self, at, episode)

    monkeypatch.setattr(Trainer, "train_step", deleting)
    with pytest.raises(InputError, match=r"run is gone: the folder was moved or deleted"):
        runs.pretrain(config, path)
    assert not path.exists()

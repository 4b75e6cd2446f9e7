"""Learners on labeled tasks from the command line: pre-train, resume, transfer by adaptation, compare, and every error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from metatc2.experiment import run as runs
from metatc2.experiment.config import override, read_task
from metatc2.experiment.run import load_run
from metatc2.learners import LEARNERS
from metatc2.training import Trainer

from ..command_line import call

SMALL = [
    "data.image_size=16", "encoder.width=8", "episode.way=3", "episode.query=4", "trainer.log_every=2",
    "trainer.checkpoint_every=2",
]  # fmt: skip
TO = ["--episodes", "2", "--shot", "2"]
SLOW = pytest.mark.slow

pytestmark = [
    pytest.mark.filterwarnings("ignore::metatc2.training.HealthWarning"),
    pytest.mark.filterwarnings("ignore:Implicit:RuntimeWarning"),
]


def pretrain(learner: str, run: str, *more: str) -> int:
    return call("pretrain", "digits", "--learner", learner, "--steps", "2", "--run", run, "--set", *SMALL, *more)


# One that adapts by gradients and one that does not; `protonet` is in two tests below, and every learner is built by its name
# and takes a step in tests/learners/test_registry.py.
QUICK = ("linear-probe", "maml")


@pytest.mark.parametrize(
    "learner", [pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in LEARNERS]
)
def test_every_learner_trains_and_adapts_to_episodes(
    learner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert pretrain(learner, "run") == 0
    before = {path.name for path in Path("run").iterdir()}
    assert {"config.toml", "encoder.safetensors", "learner.safetensors", "metrics.jsonl"} <= before
    assert call("transfer", "run", *TO) == 0
    rows = json.loads(Path("run/transfer.json").read_text())
    adapted = {row["features"]: row for row in rows if row["facts"]["head"] == "adapted"}
    assert set(adapted) == {"adapted", "adapted from random"}
    assert adapted["adapted"]["inductive"] is False
    assert adapted["adapted"]["note"] == "BatchNorm by batch"
    assert adapted["adapted"]["encoder_sha256"] != ""
    assert adapted["adapted from random"]["encoder_sha256"] == ""
    assert {row["features"] for row in rows} >= {"encoder", "random encoder", "raw pixels"}


def test_the_default_way_is_fitted_to_the_classes_that_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Four classes of digits are learned from, and the default is five: it is fitted, recorded, and the same when resumed."""
    monkeypatch.chdir(tmp_path)
    unset = [word for word in SMALL if not word.startswith("episode.way")]
    words = ["pretrain", "digits", "--learner", "protonet", "--steps", "1", "--run", "run", "--auto-resume"]
    assert call(*words, "--set", *unset) == 0
    note = "episode.way = 4, not 5: digits:meta-train has 4 classes with the 5 images that shot 1 and query 4 take"
    assert capsys.readouterr().err.count(note) == 1
    assert load_run(Path("run")).config.value("episode.way") == 4
    assert call(*words, "--set", *unset) == 0
    assert "had all its 1 steps already" in capsys.readouterr().err
    assert call(*words, "--set", *unset, "episode.way=4") == 0
    assert note not in capsys.readouterr().err
    assert call("pretrain", "--resume", "run", "--steps", "2") == 0
    assert load_run(Path("run")).config.value("episode.way") == 4
    # One that was typed is what is wanted: it fits or it is refused, and no run of another way is gone on with.
    assert call(*words, "--set", *unset, "episode.way=5") == 2
    assert "episode.way: 4 in the checkpoint, 5 now" in capsys.readouterr().err
    assert call(*words[:-2], "other", "--set", *unset, "episode.way=5") == 2
    assert "way 5 needs 5; lower way (episode.way) to 4" in capsys.readouterr().err
    assert not Path("other").exists()
    assert call(*words[:-2], "many", "--seeds", "0", "1", "--set", *unset) == 0
    assert [load_run(Path(f"many-s{seed}")).config.value("episode.way") for seed in (0, 1)] == [4, 4]
    in_python = override(read_task("digits"), ["learner.name=protonet", "trainer.steps=1", *unset])
    assert runs.pretrain(in_python, tmp_path / "python").config.value("episode.way") == 4


@pytest.mark.slow
def test_cut_and_resumed_ends_in_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = [*SMALL, "learner.name=maml++", "trainer.steps=4", "episode.replacement=false"]
    config = override(read_task("digits"), settings)
    one = runs.pretrain(config, tmp_path / "whole")
    fit = Trainer.fit

    def cut(self: Trainer, until: int | None = None) -> None:
        fit(self, 2)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "fit", cut)
        with pytest.raises(KeyboardInterrupt):
            runs.pretrain(config, tmp_path / "cut")
    two = runs.resume(tmp_path / "cut")
    assert one.encoder_sha256 == two.encoder_sha256
    assert one.learner is not None
    assert two.learner is not None
    assert all(torch.equal(a, b) for a, b in zip(one.learner.parameters(), two.learner.parameters(), strict=True))


# A name leads to its adjoint in tests/inner too: here one of whole networks and one of heads alone are trained by it.
@pytest.mark.slow
@pytest.mark.parametrize(
    "adjoint",
    ["recompute", "implicit", *(pytest.param(name, marks=SLOW) for name in ("unroll", "truncated", "first-order"))],
)
def test_adjoints_by_name(adjoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    learner = "anil" if adjoint == "implicit" else "maml"  # whose linear systems are of the head alone
    assert pretrain(learner, "run", "learner.inner_steps=2", "--adjoint", adjoint) == 0
    assert load_run(Path("run")).config.value("learner.adjoint") == adjoint


def test_evolution_strategies_on_a_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert pretrain("anil", "run", "learner.adjoint.samples=2", "--adjoint", "evolution") == 0


def test_settings_reach_the_learner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    chosen = [
        *("learner.inner_optimizer=adam", "learner.inner_steps=2", "learner.test_steps=5", "learner.norm=support"),
        *("learner.adapt=[head.*]", "learner.freeze=[blocks.0.*]", "learner.vmap_chunk=2", "learner.shared_head=true"),
        *("episode.way_most=4", "episode.shot_most=2", "episode.augment=true"),
    ]
    assert pretrain("maml", "run", *chosen) == 0
    learner = load_run(Path("run")).learner
    assert learner is not None
    assert learner.adapted == ("network.head.weight", "network.head.bias")  # type: ignore[attr-defined]
    assert (learner.train_inner.steps, learner.test_inner.steps) == (2, 5)  # type: ignore[attr-defined]
    assert (learner.norm, learner.vmap_chunk, learner.transductive) == ("support", 2, False)
    assert learner.network.head.weight.shape == (1, 8)  # type: ignore[union-attr]
    assert not any(p.requires_grad for n, p in learner.named_parameters() if "blocks.0." in n)
    assert call("transfer", "run", *TO, "--way", "4", "--to", "digits:all", "--allow-seen") == 0


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["tc2", pytest.param("metacrl", marks=SLOW)])
def test_calibrated_inside_a_labeled_learner(variant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    more = ["calibration.factors=3", f"calibration.variant={variant}", "--calibration", "tc2"]
    assert pretrain("protonet", "run", *more) == 0
    assert call("transfer", "run", *TO) == 0
    rows = json.loads(Path("run/transfer.json").read_text())
    assert {row["features"] for row in rows if row["facts"]["head"] == "adapted"} == {"adapted", "adapted from random"}


@pytest.mark.slow
def test_two_learners_are_compared_as_adapted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for learner in ("maml", "protonet"):
        assert pretrain(learner, learner) == 0
        assert call("transfer", learner, *TO) == 0
    capsys.readouterr()
    assert call("compare", "maml", "protonet", "--features", "adapted", "--json", "found.json") == 0
    (found,) = json.loads(Path("found.json").read_text())
    assert (found["a"], found["b"], found["head"]) == ("maml", "protonet", "adapted")


def test_list_of_learners(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("learners") == 0
    told = capsys.readouterr().out
    assert all(name in told for name in ["ssl", *LEARNERS])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--learner", "mamml"], "learner.name cannot be \"mamml\"; did you mean 'maml'?"),
        (["--learner", "protonet", "--adjoint", "unroll"], "learner.adjoint is for learner.name = 'anil'"),
        (["--learner", "anil", "--set", "learner.adapt=[head.*]"], "learner.adapt is for learner.name = 'fomaml'"),
        (["--learner", "maml", "--set", "learner.adapt=[foot.*]"], "adapt: no trainable parameter matches foot.*"),
        (["--learner", "maml", "--set", "learner.freeze=[foot.*]"], "learner.freeze: no trainable parameter matches"),
        (["--learner", "maml", "--calibration", "tasks"], "calibration.name = 'tasks' is for learner.name = 'ssl'"),
        (["--learner", "maml", "--set", "episode.way=9"], "way 9 needs 9"),
        (["--learner", "maml", "--set", "episode.way=3", "episode.shot=500"], "shot 500"),
        (["--learner", "imaml", "--set", "learner.vmap_chunk=2", "episode.way=3"], "vmap_chunk"),
    ],
)
def test_what_users_get_wrong(
    words: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("pretrain", "digits", "--run", "run", *words) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("metatc2: error:") == 1
    assert not Path("run").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("always::metatc2.transfer.LeftOut")
def test_more_classes_than_the_head_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert pretrain("maml", "run") == 0
    capsys.readouterr()
    assert call("transfer", "run", *TO, "--way", "5", "--to", "digits:all", "--allow-seen") == 0
    assert "no row 'adapted': the head has 3 outputs and a task has 5 classes" in capsys.readouterr().err
    rows = json.loads(Path("run/transfer.json").read_text())
    assert {row["features"] for row in rows} == {"encoder", "random encoder", "raw pixels"}


def test_a_run_that_diverges_names_the_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert pretrain("maml", "run", "learner.inner_lr=1e30", "learner.inner_steps=4") == 1
    told = " ".join(capsys.readouterr().err.split())
    assert "stopped: step 1: task 0 of the episode: the inner loss is NaN or infinite" in told

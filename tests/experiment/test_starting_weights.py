"""Pre-training that goes on from weights: those of a run, of an exported folder or of a file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from metatc2.data import load
from metatc2.errors import InputError
from metatc2.experiment.load import load_pretrained
from metatc2.experiment.run import TrainingStopped, load_run, pretrain, resume
from metatc2.experiment.run_config import read_run_config
from metatc2.experiment.starting_weights import read_start
from metatc2.training.run_folder import RunFolder

from ..command_line import call

pytestmark = pytest.mark.filterwarnings("ignore::metatc2.training.HealthWarning")

SMALL = ["encoder.width=8", "episode.batch=32", "trainer.log_every=100"]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("start") / "first"
    assert call("pretrain", "digits", "--steps", "1", "--run", str(path), "--set", *SMALL) == 0
    return path


def test_training_starts_from_the_weights_of_a_run(first: Path, tmp_path: Path) -> None:
    path = tmp_path / "second"
    words = ["--run", str(path), "--weights", str(first), "--set", *SMALL, "data.image_size=28", "trainer.lr=1e-12"]
    assert call("pretrain", "glyphs", "--steps", "1", *words) == 0
    before, after = load_run(first).encoder.state_dict(), load_run(path).encoder.state_dict()
    fresh = load_run(path).pretrained.untrained
    assert fresh is not None
    for name, value in fresh.state_dict().items():
        if name.endswith("weight") and value.dim() > 1:
            torch.testing.assert_close(after[name], before[name], rtol=0, atol=1e-9)
            assert float((value - before[name]).abs().max()) > 1e-4  # and not from those that are drawn


def test_what_the_weights_have_seen_is_seen(first: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "second"
    words = ["--run", str(path), "--weights", str(first), "--set", *SMALL, "data.image_size=28"]
    assert call("pretrain", "glyphs", "--steps", "1", *words) == 0
    seen = load_run(path).pretrained.seen
    assert seen is not None
    assert seen.is_known
    digits = load("digits", image_size=28)
    assert seen.overlap(digits, "meta-train") == [digits.class_names[label] for label in (1, 4, 6, 7)]
    assert seen.overlap(digits, "meta-test") == []
    assert seen.overlap(load("glyphs", image_size=28), "meta-train")
    capsys.readouterr()
    assert call("transfer", str(path), "--to", "digits:all", "--protocol", "knn") == 2
    assert "4 of its classes were among the pre-training images" in capsys.readouterr().err
    # So it is of an exported folder, and of a run that goes on from there.
    assert call("export", str(path), str(tmp_path / "exported")) == 0
    words = ["--run", str(tmp_path / "third"), "--weights", str(tmp_path / "exported"), "--set", *SMALL]
    assert call("pretrain", "digits", "--steps", "1", *words) == 0
    third = load_run(tmp_path / "third").pretrained.seen
    assert third is not None
    assert third.overlap(load("glyphs", image_size=28), "meta-train")
    assert third.is_known


@pytest.mark.filterwarnings("always::metatc2.models.foreign_weights.ForeignWeights")
@pytest.mark.filterwarnings("always::metatc2.experiment.transfer.UncheckedClasses")
def test_of_a_file_of_anyone_it_is_said_that_nothing_is_known(
    first: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = {f"module.encoder_q.{key}": value for key, value in load_run(first).encoder.state_dict().items()}
    torch.save({"state_dict": {**state, "module.encoder_q.fc.weight": torch.ones(3, 8)}}, tmp_path / "moco.pth")
    path = tmp_path / "second"
    words = ["--run", str(path), "--weights", str(tmp_path / "moco.pth"), "--set", *SMALL]
    assert call("pretrain", "digits", "--steps", "1", *words) == 0
    assert "the weights under 'state_dict.module.encoder_q.' are taken" in " ".join(capsys.readouterr().err.split())
    assert call("transfer", str(path), "--protocol", "knn", "--to", "digits:meta-test") == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "the classes the weights that it started from were trained on are not known" in said


def test_a_learner_on_labeled_tasks_starts_from_them_too(first: Path, tmp_path: Path) -> None:
    path = tmp_path / "maml"
    words = ["--weights", str(first), "--run", str(path), "--set", "encoder.width=8", "trainer.lr=1e-12"]
    small = ["episode.way=2", "episode.query=2", "episode.meta_batch=1", "trainer.log_every=100"]
    assert call("pretrain", "digits", "--learner", "protonet", "--steps", "1", *words, *small) == 0
    learner = load_run(path).learner
    assert learner is not None
    weight = load_run(first).encoder.state_dict()["blocks.0.0.weight"]
    torch.testing.assert_close(
        learner.exports()["encoder"].state_dict()["blocks.0.0.weight"], weight, rtol=0, atol=1e-9
    )


def test_each_seed_starts_from_the_run_of_its_own(first: Path, tmp_path: Path) -> None:
    words = ["pretrain", "digits", "--seeds", "0", "1", "--steps", "1"]
    assert call(*words, "--run", str(tmp_path / "a"), "--set", *SMALL) == 0
    assert call(*words, "--run", str(tmp_path / "b"), "--weights", str(tmp_path / "a"), "--set", *SMALL) == 0
    for seed in (0, 1):
        start = json.loads((tmp_path / f"b-s{seed}" / "start.json").read_text())
        assert Path(start["weights"]) == tmp_path / f"a-s{seed}" / "encoder.safetensors"
    one, other = (load_run(tmp_path / f"b-s{seed}").pretrained.sha256 for seed in (0, 1))
    assert one != other


def test_a_run_that_was_cut_goes_on_without_the_file(first: Path, tmp_path: Path) -> None:
    """Its weights are needed until there is a checkpoint, and must be those that it was begun with until then."""
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes((first / "encoder.safetensors").read_bytes())
    whole, path = tmp_path / "whole", tmp_path / "cut"
    words = ["--weights", str(weights), "--steps", "3", "--set", *SMALL]
    assert call("pretrain", "digits", "--run", str(whole), *words) == 0
    config = read_run_config(whole)
    asked = iter([False, True])
    with pytest.raises(TrainingStopped):
        pretrain(config, path, stop=lambda: next(asked))
    weights.unlink()
    assert resume(path).pretrained.sha256 == load_run(whole).pretrained.sha256
    seen = load_run(path).pretrained.seen
    assert seen is not None
    assert seen.earlier is not None
    # Cut before its first checkpoint, it needs them again.
    shutil.rmtree(path / "checkpoint")
    (path / "encoder.safetensors").unlink()
    with pytest.raises(InputError, match="there is no such file or folder"):
        resume(path)
    weights.write_bytes((whole / "encoder.safetensors").read_bytes())
    with pytest.raises(InputError, match="has changed since .*cut was begun"):
        read_start(config, RunFolder(path))


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--weights", "nowhere"], "encoder.weights = 'nowhere': there is no such file or folder, nor nowhere-s0"),
        (["--weights", "empty"], "empty holds no encoder.safetensors or model.safetensors; name a finished run"),
        (["--weights", "FIRST", "--set", "encoder.width=9"], "FIRST trained --encoder conv4 --set encoder.width=8"),
        (["--weights", "FIRST", "--encoder", "resnet18"], "does not fit the encoder that [encoder] names"),
        (
            ["--weights", "nan.pth", "--set", "encoder.width=8"],
            "nan.pth: 8 of 8 values of its blocks.0.0.bias are not finite",
        ),
        (["--weights", "no.pth"], "encoder.weights = 'no.pth': there is no such file or folder"),
        (
            ["--weights", "FIRST", "--set", "encoder.width=8", "encoder.one_a_kind=true"],
            "encoder.weights starts one encoder",
        ),
    ],
)
def test_what_cannot_be_started_from_is_refused(
    first: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    state = load_pretrained(str(first)).encoder.state_dict()
    bias = next(key for key in state if key.endswith("bias"))
    torch.save({**state, bias: torch.full_like(state[bias], torch.nan)}, "nan.pth")
    words = [str(first) if word == "FIRST" else word for word in more]
    assert call("pretrain", "digits", "--steps", "1", "--run", "run", *words) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert sentence.replace("FIRST", str(first)).replace("blocks.0.0.bias", bias) in said
    assert not (tmp_path / "run").exists()

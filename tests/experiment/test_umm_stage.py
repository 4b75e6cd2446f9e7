"""`metatc2 umm` on small runs: a new run folder, the old one untouched, and every mistake one sentence."""

from __future__ import annotations

import re
import shutil
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from metatc2.errors import InputError
from metatc2.experiment import umm
from metatc2.experiment.config import Config, fingerprint, merge, method_key, method_name
from metatc2.experiment.hub import save_pretrained
from metatc2.experiment.run import load_run, pretrain, resume
from metatc2.experiment.trained_learner import trained_learner, with_heads

from ..command_line import call
from .conftest import configured

pytestmark = pytest.mark.filterwarnings("ignore::metatc2.training.HealthWarning")


def plain(noise: Path, *, objective: str = "simclr", seed: int = 0) -> Config:
    method = {"calibration": {"name": "none"}, "objective": {"name": objective}, "trainer": {"seed": seed}}
    kept = {name: value for name, value in vars(configured(noise)).items() if name in ("data", "episode", "views")}
    small = {"encoder": {"name": "conv4", "width": 8}, "trainer": {"steps": 3, "checkpoint_every": 1, "log_every": 1}}
    return merge(merge(Config(**kept), small, "test"), method, "test")


@pytest.fixture(scope="module")
def start(noise: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("start") / "run"
    pretrain(plain(noise), path)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_run_keeps_its_heads_and_exports_none(start: Path, tmp_path: Path) -> None:
    heads = load_file(start / "heads.safetensors")
    assert any(name.startswith("projector.") for name in heads)
    assert not any(name.startswith("encoder.") for name in heads)
    run = load_run(start)
    whole, last = with_heads(run), trained_learner(run)
    assert last is not None
    assert all(torch.equal(t, last.state_dict()[name]) for name, t in whole.state_dict().items())
    save_pretrained(start, tmp_path / "exported")
    assert {p.name for p in (tmp_path / "exported").iterdir()} == {"config.json", "model.safetensors", "README.md"}


@pytest.mark.slow
def test_runs_in_mixed_precision_are_tuned_too(noise: Path, tmp_path: Path) -> None:
    pretrain(merge(plain(noise), {"trainer": {"precision": "bf16-mixed"}}, "test"), tmp_path / "run")
    made = umm.run(tmp_path / "run", split="blocks.1", mode="exact", steps=1, out=tmp_path / "stage")
    assert made.steps == 4


@pytest.mark.parametrize("mode", umm.ADJOINTS)
def test_the_stage_is_a_run_and_the_early_part_keeps_its_bits(start: Path, tmp_path: Path, mode: str) -> None:
    before = contents(start)
    made = umm.run(start, split="blocks.1", mode=mode, steps=2, out=tmp_path / "stage")
    assert contents(start) == before
    assert {p.name for p in made.path.iterdir()} == {
        "config.toml",
        "encoder.safetensors",
        "heads.safetensors",
        "metrics.jsonl",
    }
    old, new = (load_file(path / "encoder.safetensors") for path in (start, made.path))
    early = [name for name in old if name.startswith(("blocks.0", "blocks.1"))]
    assert early
    assert all(torch.equal(old[name], new[name]) for name in early)
    moved = [name for name in old if name not in early and old[name].is_floating_point() and "normalize" not in name]
    assert not any(torch.equal(old[name], new[name]) for name in moved)
    assert made.steps == 5
    assert method_name(made.config) == "simclr+umm"
    assert made.config.trainer == load_run(start).config.trainer


@pytest.mark.slow
def test_the_same_call_gives_the_same_bits_and_another_seed_the_same_method(
    noise: Path, start: Path, tmp_path: Path
) -> None:
    one, two = (umm.run(start, split="blocks.1", steps=1, out=tmp_path / name) for name in "ab")
    assert one.encoder_sha256 == two.encoder_sha256
    other = pretrain(plain(noise, seed=1), tmp_path / "other")
    three = umm.run(other.path, split="blocks.1", steps=1, out=tmp_path / "c")
    assert method_key(three.config) == method_key(one.config) != method_key(load_run(start).config)
    assert fingerprint(three.config) != fingerprint(one.config)


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["byol", "moco", "vicreg"])
def test_other_objectives_and_a_second_stage(noise: Path, tmp_path: Path, objective: str) -> None:
    run = pretrain(plain(noise, objective=objective), tmp_path / "run")
    once = umm.run(run.path, split="blocks.1", steps=1)
    assert once.path == tmp_path / "run-umm"
    twice = umm.run(once.path, split="blocks.2", steps=1)
    assert len({run.encoder_sha256, once.encoder_sha256, twice.encoder_sha256}) == 3


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--split", "blocks.9"), "no stage 'blocks.9'"),
        (("--split", "blocks.3"), "nothing to train follows"),
        (("--split", "blocks.1", "--set", "umm.gamma=-1"), "umm.gamma must be"),
        (("--split", "blocks.1", "--mode", "exakt"), "umm.mode cannot be .exakt.; did you mean 'exact'"),
        (
            ("--split", "blocks.1", "--mode", "alternate", "--set", "umm.inner_steps=3"),
            "steps that alternate have no inner loop",
        ),
        (("--split", "blocks.1", "--set", "trainer.lr=1"), "only keys of \\[umm\\]"),
    ],
)
def test_mistakes_end_with_status_2_and_write_nothing(
    start: Path, tmp_path: Path, words: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("umm", str(start), *words, "--out", str(tmp_path / "new")) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert re.search(sentence, said)
    assert not list(tmp_path.iterdir())


def test_exact_mode_is_refused_where_its_derivative_is_missing(start: Path) -> None:
    learner = with_heads(load_run(start))
    for mode, beta, refused in (("exact", 1.0, True), ("exact", 0.0, False), ("first-order", 1.0, False)):
        config = umm.configured(load_run(start), "blocks.1", mode, 1, [f"umm.beta={beta}"])
        stage = umm.build_umm(config, learner)
        umm.check_derivatives(stage, torch.device("cpu"))
        with pytest.raises(InputError, match="third derivative") if refused else nullcontext():
            umm.check_derivatives(stage, torch.device("cuda"))


def test_pretexts_have_no_two_views_to_compare(noise: Path, tmp_path: Path) -> None:
    pretrain(plain(noise, objective="rotation"), tmp_path / "run")
    with pytest.raises(InputError, match=r"run: UMM compares two views .* and rotation makes its own images of one"):
        umm.run(tmp_path / "run", split="blocks.1", out=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_runs_without_heads_are_refused(noise: Path, start: Path, finished: Path, tmp_path: Path) -> None:
    labeled = merge(Config(data=configured(noise).data), {"learner": {"name": "protonet"}}, "test")
    small = {"encoder": {"width": 8}, "trainer": {"steps": 1}, "episode": {"way": 2, "query": 1}}
    pretrain(merge(labeled, small, "test"), tmp_path / "labeled")
    with pytest.raises(InputError, match="the learner 'protonet' is not made from an objective"):
        umm.run(tmp_path / "labeled", split="blocks.1")
    shutil.rmtree(tmp_path / "labeled")
    old = Path(shutil.copytree(start, tmp_path / "old"))
    (old / "heads.safetensors").unlink()
    with pytest.raises(InputError, match="has no heads.safetensors"):
        umm.run(old, split="blocks.1")
    with pytest.raises(InputError, match="was trained by SharedTC2"):
        umm.run(finished, split="blocks.1", out=tmp_path / "new")
    (old / "heads.safetensors").write_bytes((finished / "heads.safetensors").read_bytes())
    with pytest.raises(InputError, match="of another training than the encoder"):
        umm.run(old, split="blocks.1")
    assert [p.name for p in tmp_path.iterdir()] == ["old"]


def test_a_folder_in_use_and_resuming_are_refused(noise: Path, start: Path, tmp_path: Path) -> None:
    made = umm.run(start, split="blocks.1", steps=1, out=tmp_path / "stage")
    with pytest.raises(InputError, match="exists already"):
        umm.run(start, split="blocks.1", steps=1, out=tmp_path / "stage")
    with pytest.raises(InputError, match="is a stage of UMM"):
        resume(made.path)
    with pytest.raises(InputError, match="a stage on a finished run"):
        pretrain(merge(plain(noise), {"umm": {"name": "umm"}}, "test"), tmp_path / "new")

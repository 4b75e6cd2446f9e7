"""Conditioned heads and auxiliary losses from the command line: a run, what is made of it, and what is refused."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
import torch
from PIL import Image

from metatc2.data import load
from metatc2.io.safetensors_file import read_safetensors
from metatc2.transfer import read_results

from ..command_line import call

SMALL = (
    "data.image_size=16",
    "encoder.width=8",
    "episode.batch=16",
    "trainer.steps=3",
    "trainer.log_every=1",
    "transfer.few-shot.episodes=5",
)


def error(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert call(*words) == 2
    return " ".join(capsys.readouterr().err.split())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("conditioned") / "run"
    words = ("--objective", "byol", "--calibration", "tc2", "--condition", "concatenate", "--run", str(path))
    more = ("condition.where=both", "auxiliary.name=augself", "auxiliary.hidden=16")
    assert call("pretrain", "digits", *words, "--set", *SMALL, *more) == 0
    return path


def test_a_run_says_what_its_heads_were_told_and_keeps_its_encoder_alone(run: Path) -> None:
    config = tomllib.loads((run / "config.toml").read_text())
    assert (config["condition"]["name"], config["condition"]["where"]) == ("concatenate", "both")
    assert config["auxiliary"] == {"name": "augself", "weight": 1.0, "hidden": 16}
    tensors = read_safetensors(run / "encoder.safetensors")[0]
    assert not [name for name in tensors if "projector" in name or "network" in name or "heads" in name]


def test_what_it_tells_of_views(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--to", "digits:meta-test", "--protocol", "augmentation")
    more = ("--set", "transfer.augmentation.images=200", "transfer.augmentation.probe=ridge")
    assert call("transfer", str(run), *words, *more) == 0
    rows = read_results(run / "transfer.json")[0]
    of = {(row.features, row.setting): row.mean for row in rows if row.protocol == "augmentation"}
    assert {"encoder", "random encoder", "raw pixels"} <= {features for features, _ in of}
    assert max(mean for (_, setting), mean in of.items() if "shuffled" in setting) < 0.15
    assert "augmentation" in capsys.readouterr().out


@pytest.mark.filterwarnings("default")
def test_a_diagnosis_leaves_out_what_cannot_be_measured(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("diagnose", str(run)) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "its heads are told how views were made (condition.name = 'concatenate'), which measures" in said
    assert json.loads((run / "diagnose.json").read_text()).get("conflict") in (None, [])


def test_pairs_at_test_time_are_images_that_nothing_was_done_to(run: Path, tmp_path: Path) -> None:
    images = load("digits", image_size=16).images
    for i, (a, b) in enumerate(images[:8].unflatten(0, (4, 2))):
        (tmp_path / f"pairs/{i}").mkdir(parents=True)
        for name, image in (("a", a), ("b", b)):
            Image.fromarray(image[0].numpy()).save(tmp_path / f"pairs/{i}/{name}.png")
    assert call("transfer", str(run), "--to", "digits:meta-test", "--context", str(tmp_path / "pairs")) == 0
    assert any(row.features == "calibrated" for row in read_results(run / "transfer.json")[0])


def test_images_that_share_descriptors(tmp_path: Path) -> None:
    more = ("auxiliary.name=stl", "auxiliary.hidden=16", "episode.share_descriptors=2")
    assert call("pretrain", "digits", "--run", str(tmp_path / "stl"), "--set", *SMALL, *more) == 0
    assert torch.isfinite(
        torch.tensor(json.loads((tmp_path / "stl/metrics.jsonl").read_text().splitlines()[-1])["loss"])
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--condition", "concat"), "condition.name cannot be \"concat\"; did you mean 'concatenate'?"),
        (
            ("--condition", "film", "--set", "condition.where=predictor"),
            "simclr has none; use condition.where = 'projector'",
        ),
        (
            ("--condition", "film", "--set", "condition.where=both"),
            "condition.where is 'both', and simclr has no predictor; use condition.where = 'projector'",
        ),
        (("--set", "condition.where=both"), "condition.where is for condition.name = "),
        (("--condition", "add", "--learner", "maml"), "condition.name is for self-supervised objectives"),
        (("--set", "auxiliary.name=stl"), "set episode.share_descriptors = 2"),
        (
            ("--set", "episode.share_descriptors=3", "episode.batch=16"),
            "cannot be put in groups of share_descriptors = 3",
        ),
        (("--condition", "add", "--set", "condition.code=32"), "condition.code is for condition.name = "),
        (
            ("--condition", "film", "--set", "condition.parts=['colour']"),
            "no item of condition.parts can be \"colour\"; did you mean 'color'?",
        ),
        (("--condition", "hypernetwork", "--set", "condition.rank=0"), "condition.rank must be a whole number ≥ 1"),
        (
            ("--calibration", "tc2", "--set", "calibration.where=projector", "auxiliary.name=augself"),
            "is a loss of the encoder's output, and calibration.where is 'projector'",
        ),
        (
            (
                "--condition",
                "film",
                "--set",
                "head.told=heads",
                "episode.tasks_differ_by=views",
                "episode.recipes=one",
            ),
            "use one at a time",
        ),
    ],
)
def test_what_does_not_fit_is_one_sentence_and_nothing_is_written(
    words: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in error(capsys, "pretrain", "digits", "--run", str(tmp_path / "x"), *words)
    assert not (tmp_path / "x").exists()

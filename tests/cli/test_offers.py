"""What the command line prints as next works as it is printed, on data of awkward sizes; what will not work is said before."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from metatc2.data import ImageStore, meta_splits
from metatc2.experiment.build import build_data
from metatc2.experiment.config import Config, override, read_task
from metatc2.experiment.transfer_offer import Offer, offer_transfer
from metatc2.transfer.sampling import fit_shapes

from ..command_line import call

pytestmark = pytest.mark.filterwarnings("ignore::metatc2.training.HealthWarning")

SMALL = ["encoder.width=8", "episode.batch=8", "episode.tasks=2", "data.image_size=16"]


def photos(root: Path, classes: int, images: int, styles: tuple[str, ...] = ("",)) -> Path:
    generator = np.random.default_rng(0)
    for style in styles:
        for kind in range(classes):
            folder = root / style / f"kind {kind}"
            folder.mkdir(parents=True)
            for i in range(images):
                Image.fromarray(generator.integers(0, 256, (16, 16), dtype=np.uint8)).save(folder / f"{i}.png")
    return root


def printed(capsys: pytest.CaptureFixture[str]) -> tuple[str, list[str]]:
    """What was said, on one line, and the command that was offered."""
    said = " ".join(capsys.readouterr().err.split())
    found = re.search(r"holds the encoder; next: metatc2 (.*)$", said)
    return said, shlex.split(found[1]) if found else []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("classes", "images", "more", "ways", "seen"),
    [
        pytest.param(12, 6, (), {3}, False, marks=pytest.mark.slow),  # three classes are held out
        (30, 6, (), {5}, False),
        (12, 3, (), {3}, False),  # no five shots
        pytest.param(5, 6, (), {5}, True, marks=pytest.mark.slow),  # one class is held out
        (2, 6, (), {2}, True),  # no class is
        pytest.param(12, 6, ("data.split=all",), {3}, True, marks=pytest.mark.slow),
        (12, 6, ("transfer.few-shot.ways=[4]",), {4}, True),  # asked for: not fitted
    ],
)
def test_next_is_what_works(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    classes: int,
    images: int,
    more: tuple[str, ...],
    ways: set[int],
    seen: bool,
) -> None:
    monkeypatch.chdir(tmp_path)
    photos(tmp_path / "my photos", classes, images)
    run = [
        "pretrain",
        "folder:my photos",
        "--steps",
        "1",
        "--run",
        "a run",
        "--set",
        *SMALL,
        "transfer.few-shot.episodes=2",
        *more,
    ]
    assert call(*run) == 0
    said, words = printed(capsys)
    assert words[:2] == ["transfer", "a run"]
    assert call(*words) == 0
    rows = json.loads((tmp_path / "a run" / "transfer.json").read_text())
    assert {row["facts"]["way"] for row in rows} == ways
    assert {row["classes_seen"] for row in rows} == {seen}
    plain = len(words) == 2
    assert plain == (not seen)
    if not plain or ways != {5}:
        assert "metatc2: note:" in said
        assert said.index("metatc2: note:") < said.index("holds the encoder")
    if plain and ways != {5}:
        assert all("3-way instead of 5-way" in row["note"] for row in rows)
    assert {row["facts"]["shot"] for row in rows} == ({1, 5} if images > 5 else {1})


def test_what_nothing_can_be_measured_on_is_said_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (16, 16, 16), dtype=np.uint8)
    np.savez(tmp_path / "x.npz", images=images)
    assert call("pretrain", f"npz:{tmp_path}/x.npz", "--steps", "1", "--run", str(tmp_path / "r"), "--set", *SMALL) == 0
    said, words = printed(capsys)
    assert "are of one class, so nothing can be measured on them; after training, name data" in said
    assert said.index("note:") < said.index("holds the encoder")
    assert "name data to measure it on: metatc2 transfer" in said
    assert "next:" not in said
    assert words == []


def toy(classes: int, each: int, name: str = "toy") -> ImageStore:
    labels = torch.arange(classes * each) % classes
    images = torch.zeros(len(labels), 1, 4, 4, dtype=torch.uint8)
    return ImageStore(name, images, labels, splits=meta_splits(labels, classes))


def settings(*words: str) -> Config:
    return override(Config(), ["data.source=toy", *words])


def test_the_offer() -> None:
    assert offer_transfer(settings(), toy(40, 20)) == Offer()
    fitted = offer_transfer(settings(), toy(12, 30))
    assert fitted.words == ()
    assert fitted.problem == "toy:meta-test will be 3-way instead of 5-way, since there are no more classes"
    asked = offer_transfer(settings("transfer.few-shot.ways=[4]"), toy(12, 30))
    assert asked.words == ("--to", "toy:all", "--allow-seen")
    assert "4-way 1-shot needs 4 classes of at least 2 images" in asked.problem
    linear = offer_transfer(settings("transfer.protocols=['linear']"), toy(12, 2))
    assert linear.words is None
    assert "has 2 images and needs 3" in linear.problem
    assert offer_transfer(settings("transfer.targets=['toy:nothing']"), toy(40, 20)).problem.startswith(
        "toy has no split"
    )


@pytest.mark.usefixtures("few_shapes")  # with more there is no less to offer
@pytest.mark.parametrize("task", ["glyphs", "digits", "shapes"])
def test_shipped_tasks_are_offered_as_they_are(task: str) -> None:
    config = read_task(task)
    assert offer_transfer(config, build_data(config)) == Offer()


def test_targets_elsewhere_are_looked_for(tmp_path: Path) -> None:
    offer = offer_transfer(settings(f"transfer.targets=['folder:{tmp_path}/none']"), toy(40, 20))
    assert "is not there" in offer.problem
    assert offer_transfer(settings("transfer.targets=['digits']"), toy(2, 2)) == Offer()


def test_clips_are_offered_their_protocol(tmp_path: Path) -> None:
    offer = offer_transfer(settings(), toy(12, 30, f"clips:{tmp_path}"))
    assert offer.words == ("--protocol", "clips")


def test_shapes_are_fitted_and_never_enlarged() -> None:
    labels = torch.tensor([0] * 9 + [1] * 9 + [2] * 3 + [3])
    found = fit_shapes(labels, (2, 5), (1, 5, 20))
    lost = "20-shot left out, since no two classes have 21 images"
    assert found == {
        (2, 1): lost,
        (2, 5): lost,
        (3, 1): f"3-way instead of 5-way, since no more classes have 2 images; {lost}",
    }
    assert fit_shapes(torch.arange(3), (5,), (1,)) == {}
    assert fit_shapes(torch.zeros(9, dtype=torch.int64), (5,), (1,)) == {}


def test_a_default_is_what_nobody_set() -> None:
    assert Config().value("transfer.few-shot.ways") == (5,)
    assert Config().value("transfer.few-shot.shots") == (1, 5)


def test_what_was_given_for_few_shot_is_no_hindrance_to_clips(tmp_path: Path) -> None:
    config = settings("transfer.few-shot.ways=[3]", f"data.source=clips:{tmp_path}")
    offer = offer_transfer(config, toy(12, 30, f"clips:{tmp_path}"))
    assert offer.words == ("--protocol", "clips")

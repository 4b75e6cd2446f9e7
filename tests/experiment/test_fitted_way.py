"""The default number of classes of a task is fitted to the images, and nothing else is changed."""

from __future__ import annotations

import pytest
import torch

from metatc2.data import ImageStore
from metatc2.experiment.config import Config, override
from metatc2.experiment.fitted_way import fit_way

LABELED = ["learner.name=protonet", "data.split=all", "episode.shot=1", "episode.query=4"]


def store(*sizes: int, splits: tuple[int, ...] = ()) -> ImageStore:
    """Classes of so many images; with `splits` a group of parts that hold so many of the first classes."""
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    parts = {f"part {i}": (labels < count).nonzero().flatten() for i, count in enumerate(splits)}
    images = torch.zeros(len(labels), 1, 8, 8, dtype=torch.uint8)
    return ImageStore("toy", images, labels, splits=parts, groups={"both": tuple(parts)} if parts else {})


def test_classes_with_too_few_images_do_not_count() -> None:
    fitted = fit_way(override(Config(), LABELED), store(6, 5, 5, 4, 9, 2))
    assert fitted.config.value("episode.way") == 4
    assert fitted.note.startswith(
        "episode.way = 4, not 5: toy:all has 4 classes with the 5 images that shot 1 and query 4"
    )
    assert fit_way(fitted.config, fitted.store).note == ""
    wider = override(Config(), [*LABELED, "episode.shot_most=2"])
    assert fit_way(wider, store(6, 5, 5, 4, 9, 6)).config.value("episode.way") == 3


def test_of_a_group_the_smallest_part_counts() -> None:
    config = override(Config(), [*LABELED, "data.split=both"])
    assert fit_way(config, store(*[6] * 7, splits=(7, 3, 6))).config.value("episode.way") == 3


@pytest.mark.parametrize(
    ("words", "sizes"),
    [
        (["episode.way=5"], (6, 6, 6)),
        (["episode.way_most=6"], (6, 6, 6)),
        ([], (6, 6, 6, 6, 6)),
        ([], (6, 4, 4)),
        ([], (4, 4)),
    ],
    ids=["given", "a range", "enough", "one class", "none"],
)
def test_what_was_given_or_cannot_be_fitted_stays(words: list[str], sizes: tuple[int, ...]) -> None:
    config = override(Config(), [*LABELED, *words])
    fitted = fit_way(config, store(*sizes))
    assert fitted.config is config
    assert fitted.note == ""


def test_without_labels_no_image_is_read() -> None:
    assert fit_way(override(Config(), ["data.source=folder:no/such"])).store is None

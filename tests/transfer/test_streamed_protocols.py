"""Protocols on images that stay on disk: the rows that they have in memory, and never more than a batch is read at once."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from metatc2.data import ImageStore, StreamedImages
from metatc2.data.gather import gather
from metatc2.data.image_io import resize_square, to_channels
from metatc2.data.streaming import join_images, some_of
from metatc2.transfer import Corruption, FineTune, SemiSupervisedFineTune, Target
from metatc2.transfer.feature_table import FeatureTable
from metatc2.transfer.protocols._classifier import images_and_labels, target_splits
from metatc2.transfer.protocols.base import Subject
from metatc2.transfer.protocols.corruption import corruption_robustness
from metatc2.transfer.protocols.fine_tune import fine_tune

CLASSES, TRAIN, COUNT = 3, 160, 760


class Stripes:
    """Images of three kinds of stripes, more than fit into a batch."""

    size = 6

    def __init__(self) -> None:
        self.images = torch.randint(0, 60, (COUNT, 1, 6, 6), generator=torch.Generator().manual_seed(0)).byte()
        for label in range(CLASSES):
            self.images[label::CLASSES, :, :, label::CLASSES] += 120

    def __len__(self) -> int:
        return COUNT

    def read(self, row: int) -> tuple[Tensor, int]:
        return self.images[row], row % CLASSES

    def identity(self) -> str:
        return ""


@pytest.fixture(scope="module")
def stores() -> tuple[ImageStore, ImageStore]:
    """In memory and streamed, resized after reading."""
    held, found = gather(Stripes(), "stripes"), gather(Stripes(), "stripes", stream=True, workers=2)
    assert isinstance(found.images, StreamedImages)
    streamed = found.images.resized(8).with_channels(3)
    images = to_channels(resize_square(held.images, 8), 3)
    splits = {"train": torch.arange(TRAIN), "test": torch.arange(TRAIN, COUNT)}
    first = ImageStore("stripes", images, held.labels, splits=splits)
    return first, replace(first, images=streamed)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many images were asked for at once."""
    numbers: list[int] = []
    usual = StreamedImages.__getitem__

    def counted(self: StreamedImages, index: Any) -> Tensor:
        images = usual(self, index)
        numbers.append(len(images))
        return images

    monkeypatch.setattr(StreamedImages, "__getitem__", counted)
    yield numbers
    assert numbers


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.ReLU())


@pytest.mark.slow
@pytest.mark.parametrize(
    "protocol",
    [FineTune(steps=2), SemiSupervisedFineTune(fractions=(0.1,), steps=2), Corruption()],
    ids=lambda protocol: protocol.name,
)
def test_rows_are_those_in_memory(stores: tuple[ImageStore, ImageStore], protocol: Any, asked: list[int]) -> None:
    held, streamed = (
        list(protocol.run(Subject(Target(store, "all", "stripes:all"), FeatureTable(store, {"net": network()}))))
        for store in stores
    )
    assert [row.facts for row in streamed] == [row.facts for row in held]
    assert all(one.values.equal(other.values) for one, other in zip(streamed, held, strict=True))
    assert max(asked) <= 512  # the test images are more


def test_protocols_hand_on_images_that_are_not_read_yet(stores: tuple[ImageStore, ImageStore]) -> None:
    held, streamed = (
        images_and_labels(Subject(target, FeatureTable(target.store, {})), target_splits(target))
        for target in (Target(store, "all", "stripes:all") for store in stores)
    )
    assert [type(part) for part in streamed] == [StreamedImages, Tensor] * 3
    assert [len(part) for part in streamed] == [len(part) for part in held] == [127, 127, 33, 33, 600, 600]
    assert streamed[2][:].equal(held[2])


def test_fine_tuning_reads_a_batch_at_a_time(stores: tuple[ImageStore, ImageStore], asked: list[int]) -> None:
    def tuned(store: ImageStore) -> Any:
        sides = [
            part
            for rows in torch.arange(COUNT).split([TRAIN - 40, 40, COUNT - TRAIN])
            for part in (some_of(store.images, rows), store.labels[rows])
        ]
        generator = torch.Generator().manual_seed(0)
        return fine_tune(
            network(), *sides, steps=9, batch=64, rates=(0.01, 0.1), weight_decays=(0.0,), generator=generator
        )

    held, streamed = map(tuned, stores)
    assert streamed.predicted.equal(held.predicted)
    assert streamed.validation_loss.equal(held.validation_loss)
    assert set(asked) <= {2, 64, 40, 512, 88}  # a look at two; training; validation; test in two parts


def test_corruption_reads_a_batch_at_a_time(stores: tuple[ImageStore, ImageStore], asked: list[int]) -> None:
    def measured(store: ImageStore) -> Tensor:
        return corruption_robustness(
            lambda x: x.float().flatten(1), lambda f: (f.mean(1) > 90).long(), store.images, store.labels,
            corruptions=["contrast"], severities=(1, 5), batch=300,
        ).corrupted  # fmt: skip

    held, streamed = map(measured, stores)
    assert streamed.equal(held)
    assert sorted(asked) == [160, 300, 300]


def test_joined_images_are_those_of_the_parts(stores: tuple[ImageStore, ImageStore]) -> None:
    held, streamed = (store.images for store in stores)
    first, second = torch.tensor([5, 1]), torch.tensor([0, 740])
    other = gather(Stripes(), "stripes", stream=True).images
    assert isinstance(streamed, StreamedImages)
    assert isinstance(other, StreamedImages)
    expected = torch.cat([held[first], held[second]])
    again = other.resized(8).with_channels(3)
    for parts in (
        [streamed.select(first), streamed.select(second)],
        [streamed.select(first), again.select(second)],
        [streamed.select(first), held[second]],
        [held[first], held[second]],
    ):
        assert join_images(parts)[:].equal(expected)
        assert join_images(parts)[torch.tensor([3, 0])].equal(expected[[3, 0]])
    assert isinstance(join_images([streamed.select(first), again.select(second)]), StreamedImages)

"""Features that are kept belong to images, whatever their labels: the labelings of one source share them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from metatc2.data.store import ImageStore
from metatc2.transfer.feature_table import FeatureTable


class Counting(nn.Module):
    """The mean of an image; counts the images that it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []  # no plain value: these are part of what a module computes

    def forward(self, images: Tensor) -> Tensor:
        self.asked.append(len(images))
        return images.mean((1, 2, 3))[:, None]


def store(labels: int, offset: int = 0) -> ImageStore:
    images = (torch.arange(6) * 10 + offset).byte()[:, None, None, None].expand(6, 1, 4, 4).contiguous()
    return ImageStore(f"toy{labels}", images, torch.arange(6) % labels)


def test_other_labels_of_the_same_images_share_features_and_other_images_do_not(tmp_path: Path) -> None:
    encoder, rows = Counting(), torch.arange(6)
    first = FeatureTable(store(2), {"encoder": encoder}, cache=tmp_path).at("encoder", rows)
    again = FeatureTable(store(3), {"encoder": encoder}, cache=tmp_path).at("encoder", rows)
    assert sum(encoder.asked) == 6
    assert torch.equal(first, again)
    other = FeatureTable(store(2, 1), {"encoder": encoder}, cache=tmp_path).at("encoder", rows)
    assert sum(encoder.asked) == 12
    assert torch.allclose(other - first, torch.full((6, 1), 1 / 255))


def test_large_images_go_through_in_small_batches_and_what_is_left_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, told = [], list[str]()

    class Mean(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            sizes.append(len(images))
            return images.mean((2, 3))

    clock = iter(range(0, 1000, 6))
    monkeypatch.setattr("metatc2.transfer.feature_table.time.perf_counter", lambda: float(next(clock)))
    images = torch.randint(0, 255, (100, 1, 256, 256), dtype=torch.uint8)
    table = FeatureTable(ImageStore("photos", images, torch.arange(100) % 2), {"mine": Mean()}, tell=told.append)
    found = table.at("mine", torch.arange(100))
    torch.testing.assert_close(found, images.float().mean((2, 3)) / 255)
    assert sizes == [32, 32, 32, 4]
    # The clock goes six seconds a look: after the second batch twelve have passed.
    assert told == ["photos: mine, features of 64 of 100 images; 12 s left"]

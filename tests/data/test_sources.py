import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from metatc2.data import known_sources, load
from metatc2.data.image_io import resize_square, to_channels
from metatc2.errors import InputError, MissingPackage
from metatc2.experiment.config import read_task
from metatc2.io.source_names import real_path, tidy
from metatc2.transfer.targets import parse_target


def test_known_sources() -> None:
    known = known_sources()
    assert {"glyphs", "digits", "folder:PATH", "npz:PATH"} <= set(known)
    assert {"cifar10", "cifar100", "stl10", "svhn", "omniglot", "eurosat", "mnist"} <= set(known)
    assert len(set(known)) == len(known)


@pytest.mark.parametrize(("typed", "meant"), [("cifr10", "cifar10"), ("glyph", "glyphs"), ("CIFAR100", "cifar100")])
def test_unknown_source_is_told_the_nearest(typed: str, meant: str) -> None:
    with pytest.raises(InputError, match=f"unknown source '{typed}'; did you mean '{meant}'"):
        load(typed)


@pytest.mark.parametrize("source", ["folder:", "npz:"])
def test_a_path_is_needed(source: str) -> None:
    with pytest.raises(InputError, match="lacks its path"):
        load(source)


@pytest.mark.parametrize("source", ["folder", "npz", "", "zip:x"])
def test_no_source(source: str) -> None:
    with pytest.raises(InputError, match="unknown source"):
        load(source)


@pytest.mark.parametrize("size", [0, -3])
def test_image_size_is_checked(size: int) -> None:
    with pytest.raises(InputError, match="image_size must be at least 1"):
        load("digits", image_size=size)


@pytest.mark.parametrize(
    ("channels", "said"), [(0, "channels must be at least 1"), (-1, "channels must be at least 1")]
)
def test_channels_are_checked(channels: int, said: str) -> None:
    with pytest.raises(InputError, match=said):
        load("digits", channels=channels)


def test_what_is_no_name_is_told_how_it_becomes_a_store() -> None:
    with pytest.raises(InputError, match=r"got a list; a torch Dataset becomes a store by ImageStore.from_dataset"):
        load([1, 2])  # type: ignore[arg-type]


def test_size_and_channels_for_glyphs() -> None:
    store = load("glyphs", image_size=14, channels=3)
    assert store.images.shape[1:] == (3, 14, 14)
    assert store.images[:, 0].equal(store.images[:, 2])
    assert store.expand("meta-test") == ("greek", "cyrillic", "georgian", "armenian")


def test_color_becomes_gray_as_pillow_does_it(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    np.savez(tmp_path / "x.npz", images=pixels)
    gray = load(f"npz:{tmp_path / 'x.npz'}", channels=1).images
    assert gray.shape == (5, 1, 16, 16)
    for mine, image in zip(gray, pixels, strict=True):
        theirs = np.asarray(Image.fromarray(image).convert("L")).astype(int)
        assert np.abs(mine[0].numpy().astype(int) - theirs).max() <= 1


@pytest.mark.parametrize(
    ("height", "width", "size"), [(40, 40, 16), (30, 50, 16), (50, 30, 16), (9, 13, 24), (20, 25, 20)]
)
def test_resizing_is_torchvisions(height: int, width: int, size: int) -> None:
    images = torch.randint(0, 256, (3, 3, height, width), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    theirs = v2.CenterCrop(size)(v2.Resize(size, antialias=True)(images))
    assert (resize_square(images, size).int() - theirs.int()).abs().max() <= 1


def test_many_images_are_resized_as_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metatc2.data.image_io._CHUNK", 500)
    images = torch.randint(0, 256, (7, 3, 10, 10), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    alone = torch.cat([resize_square(image[None], 6) for image in images])
    assert resize_square(images, 6).equal(alone)
    assert to_channels(images, 1).equal(torch.cat([to_channels(image[None], 1) for image in images]))


def test_the_own_size_costs_no_copy() -> None:
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    assert resize_square(images, 8).data_ptr() == images.data_ptr()
    assert to_channels(images, 3) is images


def test_litdata_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "litdata", None)
    with pytest.raises(MissingPackage, match=r"needs the package litdata; pip install 'metatc2\[litdata\]'"):
        load("litdata:s3://bucket/photos")


def test_addresses_are_names_of_sources() -> None:
    name = "litdata:s3://bucket/photos"
    assert tidy(f"{name}/") == name
    assert real_path(name) == "s3://bucket/photos"
    assert read_task(name).data.source == name
    assert parse_target(f"{name}:test") == (name, "test")
    assert parse_target(name) == (name, None)

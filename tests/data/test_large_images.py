"""Pictures of odd sizes: what is held while they are made square, and what is said where they are too large."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.transforms import v2

from metatc2.data import image_io as resize
from metatc2.data import load
from metatc2.data.image_io import resize_square
from metatc2.data.sources.clips import load_clips
from metatc2.data.sources.folder import UnreadableImages
from metatc2.errors import InputError


def noise(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0)).to(torch.uint8)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers in every result of an interpolation."""
    sizes: list[int] = []
    here = threading.current_thread()

    def counted(images: Tensor, **options: object) -> Tensor:
        made = interpolate(images, **options)  # type: ignore[arg-type]
        if threading.current_thread() is here:  # another test's thread may still be reading ahead
            sizes.append(max(made.numel(), images.numel()))
        return made

    monkeypatch.setattr(resize, "interpolate", counted)
    return sizes


@pytest.mark.parametrize("shape", [(400_000, 1), (1, 400_000), (3, 100_000), (5000, 70)])
def test_a_long_picture_is_cut_before_it_is_resized(shape: tuple[int, int], held: list[int]) -> None:
    assert resize_square(noise(1, 3, *shape), 32).shape == (1, 3, 32, 32)
    assert max(held) <= 3 * max(32, min(shape)) ** 2


@pytest.mark.parametrize("shape", [(9, 90), (90, 9), (33, 400), (1000, 100), (1, 50), (300, 20)])
@pytest.mark.parametrize("size", [8, 32])
def test_the_center_of_a_long_picture_is_that_of_resizing_it_whole(shape: tuple[int, int], size: int) -> None:
    images = noise(2, 3, *shape)
    theirs = v2.CenterCrop(size)(v2.Resize(size, antialias=True)(images))
    whole = interpolate(
        images.float(), size=[int(size * side / min(shape)) for side in shape], mode="bilinear", antialias=True
    )
    top, left = (round((side - size) / 2) for side in whole.shape[2:])
    exact = whole[..., top : top + size, left : left + size].round()
    mine = resize_square(images, size)
    assert (mine.int() - exact.int()).abs().max() <= 1
    assert (mine.int() - theirs.int()).abs().max() <= 1


@pytest.mark.parametrize("shape", [(50, 70), (70, 50), (64, 64), (31, 200)])
def test_bands_change_no_bit(shape: tuple[int, int], held: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    images = noise(1, 3, *shape)
    whole = resize_square(images, 20)
    monkeypatch.setattr(resize, "_CHUNK", 3 * 7 * max(shape))
    held.clear()
    assert resize_square(images, 20).equal(whole)
    assert max(held) < images.numel()


def folder_with(tmp_path: Path, large: str) -> Path:
    for name in ("a/0.png", "a/1.png", "b/0.png", "b/1.png", large):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8)).save(tmp_path / name)
    Image.new("L", (60, 50)).save(tmp_path / large)
    return tmp_path


LIMIT = r"large.png \(Image size \(3000 pixels\) exceeds limit of 2000 pixels: store it smaller, or raise PIL.Image.MAX_IMAGE"


@pytest.mark.parametrize("stream", [False, True])
def test_the_limit_on_sizes_is_said_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    root = folder_with(tmp_path, "b/large.png")
    for _ in range(2):
        with pytest.warns(UnreadableImages, match=LIMIT):
            assert len(load(f"folder:{root}", stream=stream)) == 4


def test_the_limit_is_said_by_domains_clips_and_lists_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    root = tmp_path / "domains"
    for domain in ("x", "y"):
        folder_with(root / domain, "b/large.png")
    with pytest.warns(UnreadableImages, match="2 of 10 images cannot be read and are left out: x/b/" + LIMIT):
        load(f"domains:{root}")
    with pytest.warns(UnreadableImages, match="2 frames cannot be read and are left out: x/b/" + LIMIT):
        load_clips(root)
    mit = tmp_path / "mit67"
    folder_with(mit / "Images", "b/large.png")
    (mit / "TrainImages.txt").write_text("a/0.png\nb/0.png\nb/large.png\n")
    (mit / "TestImages.txt").write_text("a/1.png\nb/1.png\n")
    with pytest.raises(InputError, match=r"large.png cannot be read \(Image size .* raise PIL.Image.MAX_IMAGE_PIXELS"):
        load(f"mit67:{mit}")


def test_every_reason_is_said(tmp_path: Path) -> None:
    root = folder_with(tmp_path, "b/large.png")
    (root / "a" / "text.png").write_text("no image")
    (root / "a" / "link.png").symlink_to(root / "nowhere")
    with pytest.warns(UnreadableImages) as caught:
        load(f"folder:{root}")
    said = str(caught[0].message)
    assert "a/text.png (Pillow finds no image in it)" in said
    assert "a/link.png (No such file or directory)" in said

"""Pairs of images that count as the same: from a folder, a list, or tensors."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from metatc2.data.depths import check_value_range
from metatc2.data.gather import Unreadable, gather
from metatc2.data.image_io import resize_square, to_channels
from metatc2.data.listing import files_in, is_image, sub_folders
from metatc2.data.readers import ImageFiles
from metatc2.errors import InputError
from metatc2.io.plain_text import brief
from metatc2.io.reading import read_bytes, text_of

MOST_PAIRS = 1024  # of a folder or a list: objectives compare every image with every other


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of images; the two of a pair count as the same.

    Args:
        images: uint8 ``(pairs, 2, C, size, size)``.
        name: where they come from, for results.
    """

    images: Tensor
    name: str

    @classmethod
    def of(cls, images: Tensor, *, image_size: int, channels: int, name: str = "pairs") -> Pairs:
        """Pairs from a tensor, brought to a size and to channels as the images of a source are.

        Args:
            images: ``(pairs, 2, 1 or 3, H, W)``, uint8, or floating point in [0, 1], which is rounded to 8 bits.
            image_size: side in pixels.
            channels: 1 or 3.
            name: see `Pairs`.

        Raises:
            InputError: if the shape or the values are others, or a pair is one image twice.

        >>> import torch
        >>> Pairs.of(torch.rand(4, 2, 3, 20, 20), image_size=8, channels=1).images.shape
        torch.Size([4, 2, 1, 8, 8])
        """
        if not isinstance(images, Tensor) or images.ndim != 5 or images.shape[1] != 2 or images.shape[2] not in (1, 3):
            got = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
            raise InputError(f"{name}: pairs must be a tensor (pairs, 2, 1 or 3 channels, height, width), got {got}")
        if not images.shape[0] or not images.shape[3] or not images.shape[4]:
            raise InputError(f"{name}: holds no image, {tuple(images.shape)}; give two pairs or more")
        flat = images.detach().cpu().flatten(0, 1)
        if flat.is_floating_point():
            if not bool(((flat >= 0) & (flat <= 1)).all()):  # NaN is neither
                raise InputError(
                    f"{name}: images must lie in [0, 1], got {flat.min():.3g} to {flat.max():.3g}; divide by the "
                    "largest value, or give uint8"
                )
            flat = (flat.float() * 255).round().byte()
        elif str(flat.dtype) != "torch.uint8":
            raise InputError(f"{name}: images must be uint8 or floating point in [0, 1], got {flat.dtype}")
        flat = flat if flat.shape[-2:] == (image_size, image_size) else resize_square(flat, image_size)
        made = cls(to_channels(flat, channels).unflatten(0, (-1, 2)).contiguous(), name)
        if twice := made._twice():
            raise InputError(f"{name}: pair {twice[0]} is one image twice, which says nothing; give two images")
        return made

    def __len__(self) -> int:
        return len(self.images)

    @property
    def sha256(self) -> str:
        """Checksum of the images, in their order."""
        shape = str(tuple(self.images.shape)).encode()
        return hashlib.sha256(shape + self.images.contiguous().numpy().tobytes()).hexdigest()

    def _twice(self) -> list[int]:
        same = (self.images[:, 0] == self.images[:, 1]).flatten(1).all(1)
        return same.nonzero().flatten().tolist()


def read_pairs(
    path: str | Path, *, image_size: int, channels: int, value_range: Sequence[float] | None = None, workers: int = 0
) -> Pairs:
    """Pairs from files, decoded and resized as the images of a source are.

    Args:
        path: a folder in which each sub-folder holds two images, or a text file that names two images a line, separated by a
            comma (CSV) or a tab, relative to the folder that the file is in.
        image_size: side in pixels.
        channels: 1 or 3.
        value_range: see `metatc2.data.load`.
        workers: threads that read.

    Raises:
        InputError: if there is nothing of this form, an image cannot be read, a pair is one image twice, or there are more
            than `MOST_PAIRS`.
    """
    root = Path(os.path.expanduser(path))
    if not root.exists():
        raise InputError(
            f"context {path}: no such file or folder; give a folder in which each sub-folder holds two images that count as "
            "the same, or a text file with two image paths a line"
        )
    listed = list(_in_folder(root) if root.is_dir() else _in_list(root))
    limits = check_value_range(str(path), value_range)
    files = [str(file) for _, pair in listed for file in pair]
    reader = ImageFiles(files, [0] * len(files), image_size, limits)
    try:
        gathered = gather(reader, str(path), workers=workers)
    except Unreadable as error:
        where = listed[error.row // 2][0]
        raise InputError(
            f"{where}: image {files[error.row]} cannot be read ({error.reason}); replace it, or leave the pair out"
        ) from error
    assert isinstance(gathered.images, Tensor)  # not streamed
    pairs = Pairs(to_channels(gathered.images, channels).unflatten(0, (-1, 2)).contiguous(), str(path))
    if twice := pairs._twice():
        raise InputError(f"{listed[twice[0]][0]}: is one image twice, which says nothing; give two images")
    return pairs


def _in_folder(root: Path) -> Iterator[tuple[str, tuple[Path, Path]]]:
    """Where each pair stands, and its files."""
    folders = sub_folders(root)
    if not folders:
        raise InputError(
            f"{root} has no sub-folders; put each pair of images into a sub-folder of its own, or name a text file with two "
            "paths a line"
        )
    _check_number(str(root), len(folders))
    for folder in folders:
        images = [file for file in files_in(folder) if is_image(file)]
        if len(images) != 2:
            raise InputError(
                f"{folder} holds {len(images)} images, and a pair is two; keep two images in each sub-folder"
            )
        yield str(folder), (images[0], images[1])


def _in_list(file: Path) -> Iterator[tuple[str, tuple[Path, Path]]]:
    """As `_in_folder`, from the lines of a text file."""
    lines = text_of(read_bytes(file), str(file)).split("\n")
    named = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not named:
        raise InputError(f"{file} names no pair; write two paths of images a line, separated by a comma or a tab")
    _check_number(str(file), len(named))
    for number, line in named:
        where = f"{file}, line {number}"
        try:
            (cells,) = csv.reader([line.strip("\r")], delimiter="\t" if "\t" in line else ",", skipinitialspace=True)
        except (csv.Error, ValueError) as error:
            raise InputError(f"{where}: malformed ({error}); write two paths, separated by a comma or a tab") from None
        first, *second = (cell.strip() for cell in cells)
        if number == 1 and len(second) == 1 and len(named) > 1 and not _images_there(file, (first, *second)):
            raise InputError(
                f"{where}: names no image files ({brief(line.strip())!r}); if it is a heading, delete it: every line is a pair"
            )
        if len(second) > 1 and _images_there(file, (first, *second)):
            raise InputError(f"{where}: names {len(cells)} images, and a pair is two; keep two a line")
        if len(second) != 1 or not first or not second[0] or "\0" in line:
            raise InputError(
                f"{where}: must be two paths, separated by a comma or a tab, got {brief(line.strip())!r}; put a path with a "
                "comma in double quotes"
            )
        yield where, (file.parent / Path(os.path.expanduser(first)), file.parent / Path(os.path.expanduser(second[0])))


def _images_there(file: Path, cells: Sequence[str]) -> bool:
    return any((file.parent / Path(os.path.expanduser(cell))).exists() for cell in cells if cell and "\0" not in cell)


def _check_number(where: str, pairs: int) -> None:
    if pairs > MOST_PAIRS:
        raise InputError(f"{where} has {pairs} pairs, and at most {MOST_PAIRS} are taken; a few are enough, keep those")

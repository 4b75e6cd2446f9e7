"""torchvision data sets that lie as image files: how they are read, and which files they are."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from metatc2.data.decoding import Decoded, decoded
from metatc2.data.readers import files_identity
from metatc2.errors import InputError
from metatc2.io.files import check_regular


class TorchvisionImages:
    """A torchvision data set as a `Reader`.

    Args:
        opened: the data set; indexing it gives a Pillow image and a label.
        size: side of the images in pixels.
    """

    def __init__(self, opened: Any, size: int) -> None:
        self.opened, self.size = opened, size

    def __len__(self) -> int:
        return len(self.opened)

    def look(self, row: int) -> tuple[Decoded, int]:
        """See `LookingReader`."""
        image, label = self.opened[row][:2]
        return decoded(image, self.size), int(label)

    def read(self, row: int) -> tuple[Tensor, int]:
        """Pixels and label; see `Reader`."""
        decoded, label = self.look(row)
        return decoded.pixels, label

    def identity(self) -> str:
        """Empty where torchvision does not tell which files it reads; see `Reader`."""
        files = image_files(self.opened)
        if files is None:
            return ""
        # Lists may be corrected while the files stay as they are; samples are pairs of file and label.
        facts = (getattr(self.opened, name, None) for name in ("_labels", "y", "_samples", "samples"))
        return files_identity(files, (type(self.opened).__name__, self.size, *map(repr, facts)))


def image_files(opened: Any) -> list[str] | None:
    """Path of every image of an opened data set, in its order; None where it does not tell."""
    for attribute in ("_image_files", "_images", "_samples", "samples"):
        entries = getattr(opened, attribute, None)
        if isinstance(entries, list) and len(entries) == len(opened):
            return [str(entry[0] if isinstance(entry, tuple) else entry) for entry in entries]
    special = _SPECIAL.get(type(opened).__name__)
    return special(opened) if special else None


def _caltech101(opened: Any) -> list[str]:
    folder = os.path.join(opened.root, "101_ObjectCategories")
    return [
        os.path.join(folder, opened.categories[y], f"image_{i:04d}.jpg")
        for i, y in zip(opened.index, opened.y, strict=True)
    ]


def _caltech256(opened: Any) -> list[str]:
    folder = os.path.join(opened.root, "256_ObjectCategories")
    return [
        os.path.join(folder, opened.categories[y], f"{y + 1:03d}_{i:04d}.jpg")
        for i, y in zip(opened.index, opened.y, strict=True)
    ]


def _omniglot(opened: Any) -> list[str]:
    return [
        os.path.join(opened.target_folder, opened._characters[character], file)
        for file, character in opened._flat_character_images
    ]


_SPECIAL: dict[str, Callable[[Any], list[str]]] = {
    "Caltech101": _caltech101,
    "Caltech256": _caltech256,
    "Omniglot": _omniglot,
}


def check_disjoint(name: str, parts: dict[str, list[str] | None]) -> None:
    """No file belongs to two parts.

    Raises:
        InputError: if one does.

    >>> check_disjoint("toy", {"train": ["a", "b"], "test": ["c"]})
    """
    owner: dict[str, str] = {}
    for part, files in parts.items():
        both = [file for file in files or () if owner.setdefault(file, part) != part]
        if both:
            raise InputError(
                f"{name}: {len(both)} images are in both {owner[both[0]]} and {part} (first {Path(both[0]).name}); a test "
                "image must not be learned from, so get the published lists again"
            )


def sun397_partition(opened: Any) -> dict[str, list[str]]:
    """Files of the first published partition (Xiao et al. 2010): 50 training and 50 test images a class.

    ``Training_01.txt`` and ``Testing_01.txt`` lie in the folder SUN397 or in its sub-folder Partitions; torchvision does
    not bring them. Without them, an empty dictionary.

    Raises:
        InputError: if one of them is there without the other, or one names a file that is not there.
    """
    root = Path(opened._data_dir)
    folder = next((f for f in (root, root / "Partitions") if list(f.glob("*ing_01.txt"))), None)
    if folder is None:
        return {}
    known = set(image_files(opened) or ())
    lists = {"train": folder / "Training_01.txt", "test": folder / "Testing_01.txt"}
    for list_file in lists.values():
        if not list_file.is_file():
            raise InputError(f"sun397: {list_file} is not there, although its partner is; unpack Partitions.zip again")
    parts = {}
    for part, list_file in lists.items():
        check_regular(list_file)
        lines = [line.strip() for line in list_file.read_text(encoding="utf-8").splitlines()]
        parts[part] = [str(root / line.lstrip("/")) for line in lines if line]
        if absent := [file for file in parts[part] if file not in known]:
            raise InputError(
                f"sun397: {list_file.name} names {len(absent)} images that are not there (first {absent[0]}); unpack "
                "SUN397.tar.gz again"
            )
    return parts

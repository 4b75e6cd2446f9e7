"""`folder:PATH`: an image folder, one sub-folder a class; any size and mode."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageOps
from torch import Tensor

from metatc2.data.resize import from_pillow, join, resize_square
from metatc2.data.store import ImageStore, meta_splits
from metatc2.errors import InputError

SIZE = 32  # pixels, unless the caller asks for another
ENDINGS = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".webp", ".avif", ".gif", ".bmp", ".dib", ".ico"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".pcx"),
)
_OFFICIAL = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": "val",
    "validation": "val",
}
_NAMED_IN_WARNING, _NAMED_IN_NOTES = 5, 50


class UnreadableImages(UserWarning):
    """Some image files of a folder could not be read; they are named, counted and left out."""


@dataclass(frozen=True)
class _File:
    path: Path
    class_name: str
    split: str  # empty where the folder has no official splits


def load_folder(path: str | Path, image_size: int | None = None) -> ImageStore:
    """Images of a folder with one sub-folder a class.

    A folder that holds nothing but ``train``, ``test`` or ``val``, each with the class folders inside, gets those as
    splits. Shorter sides are resized and the centre is kept; EXIF orientation is honoured; hidden files are skipped.
    The store's notes say how many image files could not be read (``unreadable``; the first ones by name in
    ``unreadable_files``), how many files are no images or lie outside of a class folder (``ignored_files``), and which
    class folders gave no image (``empty_classes``).

    Args:
        path: the folder.
        image_size: side of the images in pixels, 32 by default.

    Raises:
        InputError: if there is no such folder, or it holds fewer than two classes that can be read.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        wrong = "is a file, not a folder" if root.exists() else "no such folder"
        raise InputError(f"folder:{path}: {wrong}; give a folder that holds one sub-folder of images a class")
    files, ignored, folders = _find(root)
    if len(names := {file.class_name for file in files}) < 2:
        found = f"one class, {min(names)!r}" if names else "no image in a sub-folder"
        raise InputError(
            f"folder:{path}: found {found}; expected one sub-folder a class, at least two, with image files inside"
        )
    images, kept, unreadable = _read(files, image_size or SIZE)
    classes = sorted({file.class_name for file in kept})
    bad = [str(file.path.relative_to(root)) for file in unreadable]
    if bad:
        sentence = (
            f"folder:{path}: {len(bad)} of {len(files)} images cannot be read and are left out: "
            f"{_first(bad, _NAMED_IN_WARNING)}"
        )
        if len(classes) < 2:
            raise InputError(f"{sentence}; fewer than two classes remain, so replace these files")
        warnings.warn(sentence, UnreadableImages, stacklevel=3)
    number = {name: i for i, name in enumerate(classes)}
    labels = torch.tensor([number[file.class_name] for file in kept])
    official: dict[str, list[int]] = {}
    for row, file in enumerate(kept):
        official.setdefault(file.split, []).append(row)
    splits = {split: torch.tensor(rows) for split, rows in official.items() if split}
    return ImageStore(
        f"folder:{path}",
        images,
        labels,
        class_names=tuple(classes),
        splits={**meta_splits(labels, len(classes)), **splits},
        notes={
            "unreadable": len(bad),
            "unreadable_files": _first(bad, _NAMED_IN_NOTES),
            "ignored_files": ignored,
            "empty_classes": _first(sorted(folders - set(classes)), _NAMED_IN_NOTES),
        },
    )


def read_image(file: Path, size: int) -> Tensor:
    """One image file as uint8 ``(1 or 3, size, size)``; of a moving picture the first frame.

    Raises:
        OSError: or another of Pillow's errors, if it cannot be read to its end.
    """
    with Image.open(file) as opened:
        return resize_square(from_pillow(ImageOps.exif_transpose(opened))[None], size)[0]


def _find(root: Path) -> tuple[list[_File], int, set[str]]:
    """Image files, the number of other ones, and the names of all class folders."""
    inside = _folders(root)
    parts = {_OFFICIAL.get(d.name.lower(), ""): d for d in inside if _folders(d)}
    # A folder `train` beside class folders is a class that is called so.
    if len(parts) != len(inside) or "" in parts:
        parts = {"": root}
    files, classes = [], set()
    ignored = _count(_visible(root.iterdir(), root))
    for split, folder in parts.items():
        ignored += _count(_visible(folder.iterdir(), root)) if split else 0
        for directory in _folders(folder):
            classes.add(directory.name)
            for file in sorted(_visible(directory.rglob("*"), root)):
                if file.suffix.lower() in ENDINGS:
                    files.append(_File(file, directory.name, split))
                else:
                    ignored += 1
    return files, ignored, classes


def _read(files: list[_File], size: int) -> tuple[Tensor, list[_File], list[_File]]:
    """Pixels, the files they come from, and the files that cannot be read."""
    images, kept, unreadable = [], [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, on odd metadata
        for file in files:
            try:
                images.append(read_image(file.path, size)[None])
                kept.append(file)
            except Exception:  # Pillow raises a dozen kinds on damaged files
                unreadable.append(file)
    return join(images) if images else torch.zeros(0, 1, size, size, dtype=torch.uint8), kept, unreadable


def _visible(paths: Iterable[Path], root: Path) -> Iterator[Path]:
    for path in paths:
        dangling = path.is_symlink() and not path.exists()  # an image that is named and cannot be read
        if (path.is_file() or dangling) and not any(
            part.startswith((".", "__MACOSX")) for part in path.relative_to(root).parts
        ):
            yield path


def _folders(path: Path) -> list[Path]:
    return sorted(d for d in path.iterdir() if d.is_dir() and not d.name.startswith((".", "__MACOSX")))


def _count(paths: Iterator[Path]) -> int:
    return sum(1 for _ in paths)


def _first(words: list[str], most: int) -> str:
    return ", ".join(words[:most]) + (f", ... ({len(words) - most} more)" if len(words) > most else "")

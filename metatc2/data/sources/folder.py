"""`folder:PATH`: an image folder, one sub-folder a class; any size and mode."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from metatc2.data.class_folders import ClassFolders, ClassImages
from metatc2.data.crops import crops_noted
from metatc2.data.decoding import ValueRange
from metatc2.data.gather import gather
from metatc2.data.listing import canonical, files_in, sub_folders
from metatc2.data.readers import ImageFiles
from metatc2.data.registry import register_source
from metatc2.data.store import ImageStore, beside_parts, meta_splits
from metatc2.errors import InputError

SIZE = 32  # pixels, unless the caller asks for another
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


class _Found(NamedTuple):
    images: ClassImages
    kinds: list[tuple[str, str]]  # split and class of each class folder; no split where the folder has no official ones
    ignored: int  # files that are no images


@register_source("folder:PATH")
def load_folder(
    path: str | Path,
    image_size: int | None = None,
    *,
    stream: bool = False,
    workers: int = 0,
    name: str | None = None,
    value_range: ValueRange | None = None,
) -> ImageStore:
    """Images of a folder with one sub-folder a class.

    A folder that holds nothing but ``train``, ``test`` or ``val``, each with the class folders inside, gets those as
    splits. Links to folders are followed, every real folder once a class, unless they would mix classes (`ClassFolders`).
    A class is its folder's name in Unicode's
    composed form, so that folders whose names differ in how accents are written are one class.
    Shorter sides are resized and the center is kept; EXIF orientation is honored; hidden files are skipped. The store's
    notes say how many image files could not be read (``unreadable``; the first ones by name in ``unreadable_files``), how
    many files are no images or lie outside of a class folder (``ignored_files``), and which class folders gave no image
    (``empty_classes``).

    Args:
        path: the folder.
        image_size: side of the images in pixels, 32 by default.
        stream: leave the images on disk; the store is the same, and so is its checksum.
        workers: threads that read.
        name: of the store; by default ``folder:PATH``.
        value_range: see `load`.

    Raises:
        InputError: if there is no such folder, or it holds fewer than two classes that can be read.
    """
    name = name or f"folder:{path}"
    root = Path(path).expanduser()
    if not root.is_dir():
        wrong = "is a file, not a folder" if root.exists() else "no such folder"
        raise InputError(f"{name}: {wrong}; give a folder that holds one sub-folder of images a class")
    there = _find(name, root)
    files, owners, _ = there.images
    class_of = [class_name for _, class_name in there.kinds]
    names = sorted({class_of[owner] for owner in np.unique(owners)})
    if len(names) < 2:
        got = f"one class, {names[0]!r}" if names else "no image in a sub-folder"
        raise InputError(f"{name}: found {got}; expected one sub-folder a class, at least two, with image files inside")
    number = {name: i for i, name in enumerate(names)}
    numbers = np.array([number.get(class_name, -1) for class_name in class_of])[owners]
    reader = ImageFiles(files, numbers, image_size or SIZE, value_range)
    gathered = gather(reader, name, stream=stream, workers=workers, skip=True)
    # Numbered anew: a class may have lost all its images.
    present, labels = torch.unique(gathered.labels, return_inverse=True)
    classes = [names[label] for label in present.tolist()]
    bad = [str(Path(files[row]).relative_to(root)) for row in gathered.reasons]
    if bad:
        sentence = left_out(name, f"{len(bad)} of {len(files)} images", bad, gathered.reasons)
        if len(classes) < 2:
            raise InputError(f"{sentence}; fewer than two classes remain, so replace these files")
        warnings.warn(sentence, UnreadableImages, stacklevel=3)
    split_of = np.array([split for split, _ in there.kinds])[owners[gathered.rows.numpy()]]
    official = [split for split in dict.fromkeys(split for split, _ in there.kinds) if split]
    splits = {
        split: torch.from_numpy((split_of == split).nonzero()[0]) for split in official if (split_of == split).any()
    }
    return ImageStore(
        name,
        gathered.images,
        labels,
        class_names=tuple(classes),
        splits=beside_parts(meta_splits(labels, len(classes)), splits),
        notes={
            "unreadable": len(bad),
            "unreadable_files": first_ones(bad, _NAMED_IN_NOTES),
            "ignored_files": there.ignored,
            "empty_classes": first_ones(sorted(set(class_of) - set(classes)), _NAMED_IN_NOTES),
            **crops_noted(gathered.crops),
        },
        originals=gathered.originals,
    )


def _find(name: str, root: Path) -> _Found:
    inside = sub_folders(root)
    parts = {_OFFICIAL.get(d.name.lower(), ""): d for d in inside if sub_folders(d)}
    # A folder `train` beside class folders is a class that is called so.
    if len(parts) != len(inside) or "" in parts:
        parts = {"": root}
    ignored = len(files_in(root)) + sum(len(files_in(folder)) for split, folder in parts.items() if split)
    kinds = [(split, canonical(kind.name), kind) for split, folder in parts.items() for kind in sub_folders(folder)]
    together = ClassFolders(name, root, [(class_name, kind) for _, class_name, kind in kinds])
    images = together.images()
    return _Found(images, [(split, class_name) for split, class_name, _ in kinds], ignored + images.others)


def left_out(name: str, how_many: str, bad: Sequence[str], reasons: Mapping[int, str]) -> str:
    """The sentence about images that cannot be read: the first ones by name, each with its reason.

    Args:
        name: of the source.
        how_many: they are, e.g. ``"3 of 80 images"``.
        bad: names of those that cannot be read.
        reasons: why, in the same order.
    """
    described = [f"{file} ({reason})" for file, reason in zip(bad, reasons.values(), strict=True)]
    return f"{name}: {how_many} cannot be read and are left out: {first_ones(described, _NAMED_IN_WARNING)}"


def first_ones(words: list[str], most: int) -> str:
    """Some words, and how many more there are.

    >>> first_ones(["a", "b", "c"], 2)
    'a, b, ... (1 more)'
    """
    return ", ".join(words[:most]) + (f", ... ({len(words) - most} more)" if len(words) > most else "")

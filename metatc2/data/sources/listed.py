"""Benchmarks that are a folder of images and lists of them: what MIT-67, ISIC 2018 and ChestX have in common."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path

import torch

from metatc2.data.crops import crops_noted
from metatc2.data.decoding import ValueRange
from metatc2.data.gather import Unreadable, gather
from metatc2.data.readers import ImageFiles
from metatc2.data.sources._torchvision_files import check_disjoint
from metatc2.data.store import ImageStore, beside_parts, meta_splits
from metatc2.errors import InputError
from metatc2.io.files import check_regular
from metatc2.io.plain_text import brief

SIZE = 64  # pixels, unless the caller asks for another


def listed_store(
    name: str,
    entries: Sequence[tuple[Path, str]],
    *,
    classes: Sequence[str],
    splits: dict[str, list[Path]],
    image_size: int | None,
    stream: bool,
    workers: int,
    metric: str = "accuracy",
    notes: dict[str, str | int] | None = None,
    value_range: ValueRange | None = None,
) -> ImageStore:
    """A store of listed files; a benchmark is whole or not used, so one image that is missing is an error.

    Args:
        name: of the store.
        entries: file and class of each image, none of them twice.
        classes: all class names, in the order of their numbers.
        splits: files of each official split.
        image_size: side in pixels, 64 by default.
        stream: see `load`.
        workers: see `load`.
        metric: see `ImageStore`.
        notes: see `ImageStore`.
        value_range: see `load`.

    Raises:
        InputError: if there is no image, one cannot be read, or splits share one.
    """
    if not entries:
        raise InputError(f"{name}: its lists name no image; unpack the data set again")
    absent = [file for file, _ in entries if not file.is_file()]
    if absent:
        raise InputError(
            f"{name}: {len(absent)} of {len(entries)} listed images are not there (first {absent[0]}); unpack the data set "
            "again, with its images where they were"
        )
    # By real paths: a list may name one file in several ways, and links may be one image in two parts.
    check_disjoint(name, {part: [os.path.realpath(file) for file in files] for part, files in splits.items()})
    number = {word: i for i, word in enumerate(classes)}
    paths, labels = [str(file) for file, _ in entries], [number[word] for _, word in entries]
    reader = ImageFiles(paths, labels, image_size or SIZE, value_range)
    try:
        gathered = gather(reader, name, stream=stream, workers=workers)
    except Unreadable as error:
        raise InputError(
            f"{name}: image file {entries[error.row][0]} cannot be read ({error.reason}); unpack the data set again"
        ) from error
    place = {file: row for row, (file, _) in enumerate(entries)}
    present, dense = torch.unique(gathered.labels, return_inverse=True)
    return ImageStore(
        name,
        gathered.images,
        gathered.labels,
        class_names=tuple(classes),
        splits=beside_parts(
            meta_splits(dense, len(present)),
            {part: torch.tensor([place[file] for file in files], dtype=torch.int64) for part, files in splits.items()},
        ),
        notes={**(notes or {}), **crops_noted(gathered.crops)},
        metric=metric,
        originals=gathered.originals,
    )


def read_list(name: str, file: Path) -> list[str]:
    """Lines of a list file, without empty ones.

    Raises:
        InputError: if it is not there, is not text, or holds nothing.
    """
    check_regular(file)
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError as error:
        raise InputError(
            f"{name}: no {file.name} in {file.parent}; it comes with the data set and says which images belong where, so put "
            "it there"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{name}: {file} cannot be read ({error}); get it again") from error
    if not any(lines):
        raise InputError(f"{name}: {file} is empty; get it again")
    return [line for line in lines if line]


def listed_file(name: str, folder: Path, word: str) -> Path:
    """The file that a list means by a word; a list that came with data names no file outside of their folder.

    Raises:
        InputError: if it does.

    >>> listed_file("mit67:a", Path("a"), "bar/../../../b.jpg")
    Traceback (most recent call last):
    metatc2.errors.InputError: mit67:a: a list names 'bar/../../../b.jpg', which is not in a; get the published file again
    """
    if os.path.isabs(word) or ".." in Path(word).parts:
        raise InputError(
            f"{name}: a list names {brief(word)!r}, which is not in {folder}; get the published file again"
        )
    return folder / word


def read_table(name: str, file: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Rows of a CSV file by the names of its columns.

    Raises:
        InputError: if it cannot be read, or lacks a column.
    """
    rows = list(csv.DictReader(read_list(name, file)))
    held = rows[0].keys() if rows else ()
    if lacking := [column for column in columns if column not in held]:
        raise InputError(
            f"{name}: {file} has no column {lacking[0]!r} or no rows (columns: {', '.join(map(str, held)) or 'none'}); get "
            "the published file again"
        )
    if any(row[column] is None for row in rows for column in columns):
        raise InputError(f"{name}: {file} ends in the middle of a row; get it again")
    return rows


def folder_of(name: str, path: str | Path, *inside: str) -> Path:
    """The folder of a benchmark, checked to hold what it must.

    Raises:
        InputError: if it or one of the names inside it is not there.
    """
    root = Path(path).expanduser()
    for place in (root, *(root / part for part in inside)):
        if not place.is_dir():
            wanted = f"the folder{'s' if len(inside) > 1 else ''} {' and '.join(inside)}" if inside else "the images"
            raise InputError(f"{name}: no folder {place}; give the folder that holds {wanted}")
    return root

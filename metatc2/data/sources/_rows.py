"""From a reader of numbered images to a store: what sources have in common whose images are rows of something."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metatc2.data.crops import crops_noted
from metatc2.data.decoding import Decoded
from metatc2.data.gather import gather
from metatc2.data.readers import Reader, where
from metatc2.data.sources.folder import UnreadableImages, first_ones, left_out
from metatc2.data.store import ImageStore, beside_parts, meta_splits
from metatc2.errors import InputError

SIZE = 32  # pixels, unless the caller asks for another
UNLABELED = "unlabeled"
_NAMED = 50


class LabeledRows(ABC):
    """A `Reader` of rows whose labels are known before they are read: subclasses decode."""

    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def look(self, row: int) -> tuple[Decoded, int]:
        """See `LookingReader`."""

    def read(self, row: int) -> tuple[Tensor, int]:
        """Pixels and label; see `Reader`."""
        image, label = self.look(row)
        return image.pixels, label


def store_of_rows(
    name: str,
    reader: Reader,
    *,
    class_names: Sequence[str],
    splits: Mapping[str, NDArray[np.int64]],
    stream: bool,
    workers: int,
) -> ImageStore:
    """A store of all rows of a reader that can be read; the others are named in a warning and in the notes.

    Images with the label -1 have none: they are of a class `UNLABELED` and in a split of that name.

    Args:
        name: of the store.
        reader: where the images come from.
        class_names: by label.
        splits: the source's own, rows of the reader.
        stream: see `load`.
        workers: see `load`.

    Raises:
        InputError: if no image can be read.
    """
    gathered = gather(reader, name, stream=stream, workers=workers, skip=True)
    notes: dict[str, str | int] = {"unreadable": len(gathered.reasons), **crops_noted(gathered.crops)}
    if gathered.reasons:
        bad = [where(reader, row) for row in gathered.reasons]
        sentence = left_out(name, f"{len(bad)} of {len(reader)} images", bad, gathered.reasons)
        if not len(gathered.rows):
            raise InputError(f"{sentence}; no image remains, so write the data set again")
        warnings.warn(sentence, UnreadableImages, stacklevel=3)
        notes["unreadable_files"] = first_ones(bad, _NAMED)
    labels, names = gathered.labels, list(class_names)
    none = labels < 0
    place = np.full(len(reader), -1, dtype=np.int64)
    place[gathered.rows.numpy()] = np.arange(len(gathered.rows))
    own = {word: torch.from_numpy(place[rows][place[rows] >= 0]) for word, rows in splits.items()}
    if none.any():
        names += [UNLABELED] * (UNLABELED not in names)
        labels = torch.where(none, names.index(UNLABELED), labels)
        own[UNLABELED] = none.nonzero().flatten()
    # Numbered anew: classes without an image must not be split.
    present, dense = torch.unique(labels, return_inverse=True)
    return ImageStore(
        name,
        gathered.images,
        labels,
        class_names=tuple(names),
        splits=beside_parts(meta_splits(dense, len(present)), own),
        notes=notes,
        originals=gathered.originals,
    )


def numbered(values: Sequence[object]) -> tuple[NDArray[np.int64], list[str]]:
    """Labels of any kind as numbers, and the name of each: whole numbers in their order, words in theirs; None is -1.

    >>> numbered(["cat", None, "ant"])
    (array([ 1, -1,  0]), ['ant', 'cat'])
    >>> numbered([10, 9])[1]
    ['9', '10']
    """
    known = {value for value in values if value is not None}
    order = sorted(known, key=lambda value: (isinstance(value, str), value))
    number = {value: i for i, value in enumerate(order)}
    return np.array([-1 if value is None else number[value] for value in values], dtype=np.int64), [*map(str, order)]

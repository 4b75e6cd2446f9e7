"""Readers: where images come from, one by one, with their labels."""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol, runtime_checkable

from torch import Tensor

from metatc2.data.decoding import Decoded, ValueRange, read_image


class Reader(Protocol):
    """Images that can be read one at a time, in any order and by several threads at once."""

    @property
    def size(self) -> int:
        """Side of the images in pixels."""
        ...

    def __len__(self) -> int: ...

    def read(self, row: int) -> tuple[Tensor, int]:
        """Pixels, uint8 ``(1 or 3, size, size)``, and label.

        Raises:
            Exception: of whatever kind, if the image cannot be read to its end.
        """
        ...

    def identity(self) -> str:
        """What changes when the images do, found without reading them; empty where there is no such thing."""
        ...


@runtime_checkable
class LookingReader(Protocol):
    """A reader that also tells what an image was before it became pixels of a store."""

    def look(self, row: int) -> tuple[Decoded, int]:
        """As `Reader.read`, with what `Decoded` says beside the pixels."""
        ...


@dataclass(frozen=True)
class ImageFiles:
    """Image files and the label of each.

    Args:
        files: paths.
        labels: one a file.
        size: side of the images in pixels.
        value_range: see `metatc2.data.decoding.from_pillow`.
    """

    files: Sequence[str]
    labels: Sequence[int]
    size: int
    value_range: ValueRange | None = None

    def __len__(self) -> int:
        return len(self.files)

    def look(self, row: int) -> tuple[Decoded, int]:
        """See `LookingReader`."""
        return read_image(self.files[row], self.size, self.value_range), self.labels[row]

    def read(self, row: int) -> tuple[Tensor, int]:
        """Pixels and label; see `Reader`."""
        decoded, label = self.look(row)
        return decoded.pixels, label

    def identity(self) -> str:
        """SHA-256 over labels, names, sizes and times of the files; see `Reader`."""
        about: tuple[object, ...] = ("files", self.size, *self.labels)
        return files_identity(self.files, about if self.value_range is None else (*about, self.value_range))


class Joined:
    """Several readers of one size as one, in their order.

    >>> both = Joined([ImageFiles(["a.png"], [0], 8), ImageFiles(["b.png", "c.png"], [1, 1], 8)])
    >>> len(both), both.part(2)
    (3, (1, 1))
    """

    def __init__(self, readers: Sequence[Reader]) -> None:
        self.readers = tuple(readers)
        self.size = self.readers[0].size
        self._ends = list(accumulate(len(reader) for reader in self.readers))

    def __len__(self) -> int:
        return self._ends[-1]

    def part(self, row: int) -> tuple[int, int]:
        """Number of the reader that holds a row, and the row there."""
        part = bisect_right(self._ends, row)
        return part, row - (self._ends[part - 1] if part else 0)

    def read(self, row: int) -> tuple[Tensor, int]:
        """Pixels and label; see `Reader`."""
        part, own = self.part(row)
        return self.readers[part].read(own)

    def identity(self) -> str:
        """Those of all parts; see `Reader`."""
        parts = [reader.identity() for reader in self.readers]
        return " ".join(parts) if all(parts) else ""


def files_identity(files: Sequence[str], about: tuple[object, ...]) -> str:
    """SHA-256 over names, sizes and modification times of files, and further facts."""
    digest = hashlib.sha256(repr(about).encode())
    for file in files:
        try:
            stat = os.stat(file)
            facts = (stat.st_size, stat.st_mtime_ns)
        except OSError:  # a dangling link is a file that cannot be read, not one that cannot be named
            facts = (-1, -1)
        digest.update(f"{os.path.abspath(file)}\0{facts}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()

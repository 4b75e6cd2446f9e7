"""Readers: where images come from, one by one, with their labels."""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from metatc2.data.decoding import Decoded, ValueRange, read_image
from metatc2.data.file_list import FileList

_LINES = 1000  # that are digested together


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


@runtime_checkable
class NamingReader(Protocol):
    """A reader that knows a better name for an image than its number."""

    def where(self, row: int) -> str:
        """What errors call the image of a row: its file."""
        ...


def where(reader: Reader, row: int) -> str:
    """What errors call an image.

    >>> where(ImageFiles(["a.png"], [0], 8), 0)
    'a.png'
    """
    return reader.where(row) if isinstance(reader, NamingReader) else f"image {row}"


@dataclass(frozen=True)
class ImageFiles:
    """Image files and the label of each.

    Args:
        files: paths; a `FileList` where there are very many.
        labels: one a file, a list or int64 ``(N,)``.
        size: side of the images in pixels.
        value_range: see `metatc2.data.decoding.from_pillow`.
    """

    files: Sequence[str]
    labels: Sequence[int] | NDArray[np.int64]
    size: int
    value_range: ValueRange | None = None

    def __len__(self) -> int:
        return len(self.files)

    def look(self, row: int) -> tuple[Decoded, int]:
        """See `LookingReader`."""
        return read_image(self.files[row], self.size, self.value_range), int(self.labels[row])

    def where(self, row: int) -> str:
        """See `NamingReader`."""
        return self.files[row]

    def read(self, row: int) -> tuple[Tensor, int]:
        """Pixels and label; see `Reader`."""
        decoded, label = self.look(row)
        return decoded.pixels, label

    def identity(self) -> str:
        """SHA-256 over labels, names, sizes and times of the files; see `Reader`."""
        labels = hashlib.sha256(np.asarray(self.labels, dtype=np.int64).tobytes()).hexdigest()
        return files_identity(self.files, ("files", self.size, labels, self.value_range))


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

    def where(self, row: int) -> str:
        """See `NamingReader`."""
        part, own = self.part(row)
        return where(self.readers[part], own)

    def identity(self) -> str:
        """Those of all parts; see `Reader`."""
        parts = [reader.identity() for reader in self.readers]
        return " ".join(parts) if all(parts) else ""


def files_identity(files: Sequence[str], about: tuple[object, ...]) -> str:
    """SHA-256 over names, sizes and modification times of files, and further facts."""
    digest = hashlib.sha256(repr(about).encode())
    known, inside = None, ""
    lines: list[str] = []
    # Of millions of files each line counts: a folder's path is made once.
    for folder, name in files.parts() if isinstance(files, FileList) else map(os.path.split, files):
        if folder != known:
            known, inside = folder, os.path.join(os.path.abspath(folder), "")
        path = inside + name
        try:
            state = os.stat(path)
            lines.append(f"{path}\0({state.st_size}, {state.st_mtime_ns})\n")
        except OSError:  # a dangling link is a file that cannot be read, not one that cannot be named
            lines.append(f"{path}\0(-1, -1)\n")
        if len(lines) == _LINES:
            digest.update("".join(lines).encode(errors="surrogateescape"))
            lines.clear()
    digest.update("".join(lines).encode(errors="surrogateescape"))
    return digest.hexdigest()

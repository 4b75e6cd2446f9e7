"""`FileList`: paths of very many files in little memory."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray


class FileList(Sequence[str]):
    """Paths, each kept as the number of its folder and its name: some bytes more than the name has.

    Args:
        groups: a folder and names of files in it, in the order of the paths; a folder may come several times.

    >>> files = FileList([("photos/ant", ["1.png", "2.png"]), ("photos/bee", ["1.png"])])
    >>> len(files), files[-1], files[:2]
    (3, 'photos/bee/1.png', ['photos/ant/1.png', 'photos/ant/2.png'])
    """

    def __init__(self, groups: Iterable[tuple[str, Sequence[str]]]) -> None:
        folders: dict[str, int] = {}
        text = bytearray()
        owners: list[NDArray[np.int32]] = [np.zeros(0, dtype=np.int32)]
        lengths: list[NDArray[np.int64]] = [np.zeros(1, dtype=np.int64)]
        for folder, names in groups:
            encoded = [_encoded(name) for name in names]
            text += b"".join(encoded)
            lengths.append(np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded)))
            owners.append(np.full(len(encoded), folders.setdefault(folder, len(folders)), dtype=np.int32))
        self._folders = list(folders)
        self._text = bytes(text)
        self._owners = np.concatenate(owners)
        self._ends = np.cumsum(np.concatenate(lengths))

    def __len__(self) -> int:
        return len(self._owners)

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        """A path, or several."""
        if isinstance(row, slice):
            return [self[i] for i in range(*row.indices(len(self)))]
        at = row + len(self) if row < 0 else row
        if not 0 <= at < len(self):
            raise IndexError(f"there are {len(self)} files, and none is number {row}")
        name = self._text[self._ends[at] : self._ends[at + 1]]
        return os.path.join(self._folders[self._owners[at]], name.decode(*_CODE))

    def __iter__(self) -> Iterator[str]:
        return (os.path.join(folder, name) for folder, name in self.parts())

    def parts(self) -> Iterator[tuple[str, str]]:
        """Folder and name of each file."""
        for start in range(0, len(self), 4096):
            part = slice(start, start + 4096)
            ends = self._ends[start : start + 4097].tolist()
            for owner, begin, end in zip(self._owners[part].tolist(), ends, ends[1:], strict=False):
                yield self._folders[owner], self._text[begin:end].decode(*_CODE)


_CODE = ("utf-8", "surrogateescape")  # names need not be text


def _encoded(name: str) -> bytes:
    return name.encode(*_CODE)

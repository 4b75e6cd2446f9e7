"""The class folders of one source together: which links in them may be followed without mixing classes."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from metatc2.data.file_list import FileList
from metatc2.data.listing import files_below, is_image
from metatc2.errors import InputError


class ClassImages(NamedTuple):
    """What lies in class folders.

    Args:
        files: images.
        owners: int64 ``(N,)``: which of the class folders each image is in.
        others: how many files are no images.
    """

    files: FileList
    owners: NDArray[np.int64]
    others: int


class ClassFolders:
    """Class folders, none of which is or holds another one.

    Links to folders are followed wherever they lead, as torchvision's ``ImageFolder`` does, with two exceptions. One that
    leads to a folder around it or around the source (a circle) is not followed: its images are those of all classes. One
    that leads into the folder of another class, or to a folder that holds one, is refused: its images would have two labels.

    Args:
        name: of the source, for errors.
        root: folder of the source.
        folders: class names and folders; a class may have several (splits, domains).

    Raises:
        InputError: if a class folder leads round to the source itself, or into that of another class.
    """

    def __init__(self, name: str, root: Path, folders: Sequence[tuple[str, Path]]) -> None:
        self.name, self.root = name, os.path.realpath(root)
        self._folders = folders
        self._real = {path: os.path.realpath(path) for _, path in folders}
        self._class_of = {self._real[path]: kind for kind, path in reversed(folders)}
        self._sorted = sorted(self._class_of)
        for path, real in self._real.items():
            if _holds(real, self.root):
                raise InputError(
                    f"{name}: the class folder {path} is a link to {real}, which holds all classes; take the link out"
                )
        for kind, path in folders:
            self._require_own(kind, path, self._real[path])

    def images(self) -> ClassImages:
        """Image files of all class folders, one folder after the other, in the order of their paths; see `files_below`."""
        counts, others = [0] * len(self._folders), 0

        def groups() -> Iterator[tuple[str, list[str]]]:
            nonlocal others
            for owner, (kind, folder) in enumerate(self._folders):
                for inside, files in files_below(folder, partial(self.follows, kind, folder)):
                    images = [file for file in files if is_image(file)]
                    counts[owner] += len(images)
                    others += len(files) - len(images)
                    yield inside, images

        files = FileList(groups())
        return ClassImages(files, np.repeat(np.arange(len(counts)), counts), others)

    def follows(self, kind: str, folder: Path, link: Path) -> bool:
        """Whether a link found in a class folder is followed; not where it leads round in a circle.

        Raises:
            InputError: if it leads into another class.
        """
        real = os.path.realpath(link)
        if _holds(real, self.root) or _holds(real, self._real[folder]) or _holds(real, os.path.realpath(link.parent)):
            return False
        self._require_own(kind, link, real)
        return True

    def _require_own(self, kind: str, path: Path, real: str) -> None:
        for other in self._around_or_inside(real):
            if (its := self._class_of[other]) != kind:
                raise InputError(
                    f"{self.name}: {path} of class {kind!r} and {other} of class {its!r} share images through a link, which "
                    "would give them two labels; take the link out"
                )

    def _around_or_inside(self, real: str) -> Iterator[str]:
        yield from (str(p) for p in (Path(real), *Path(real).parents) if str(p) in self._class_of)
        inside = os.path.join(real, "")
        at = bisect_left(self._sorted, inside)
        while at < len(self._sorted) and self._sorted[at].startswith(inside):
            yield self._sorted[at]
            at += 1


def _holds(outer: str, inner: str) -> bool:
    """Whether a real folder is another one or around it."""
    return os.path.join(inner, "").startswith(os.path.join(outer, ""))

"""What lies in a folder: sub-folders, the files below them, and the names of classes; the one place that lists any."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from metatc2.data.retrying import retried
from metatc2.errors import InputError, cause_of

ENDINGS = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".webp", ".avif", ".gif", ".bmp", ".dib", ".ico"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".pcx"),
)
_HIDDEN = (".", "__MACOSX")
_SYSTEM = ("/proc", "/sys", "/dev")  # no files of anybody's, and links there lead round through everything
_SHARED_MEMORY = "/dev/shm"
MOST_FOLDERS = 100_000  # below one class; ImageNet has a thousand in all


def canonical(name: str) -> str:
    """A name as it is compared: in Unicode's composed form (NFC), whichever way a file system wrote its accents.

    >>> canonical("cafe" + chr(0x301)) == "caf" + chr(0xE9)
    True
    """
    return unicodedata.normalize("NFC", name)


def sub_folders(path: Path) -> list[Path]:
    """Folders in a folder by name, and links to folders; hidden ones left out.

    Raises:
        InputError: if the folder cannot be listed.
    """
    listed = _listed(str(path))
    return [path / name for name in sorted([*listed.folders, *listed.links])]


def files_in(path: Path) -> list[Path]:
    """Files in a folder itself by name, links that lead nowhere included: named, and not to be read; hidden ones left out.

    Raises:
        InputError: if the folder cannot be listed.
    """
    return [path / name for name in _listed(str(path)).files]


def files_below(path: Path, follows: Callable[[Path], bool] = lambda link: True) -> Iterator[tuple[str, list[str]]]:
    """Files in a folder and in all folders below it, in the order of their paths; hidden ones left out.

    Links to folders are followed, as torchvision's ``ImageFolder`` does. Every real folder is listed once, under its own
    name rather than a link's, and a link that leads back to a folder around it is not followed. No file is opened or
    asked about, unless it is a link.

    Args:
        path: the folder.
        follows: whether a link to a folder is followed at all.

    Yields:
        A folder, and names of files in it; a folder comes again where the files of one below it lie between its own.

    Raises:
        InputError: if a folder cannot be listed, or there are more than `MOST_FOLDERS`.
    """
    tree: dict[str, _Folder] = {}
    listed = {os.path.realpath(path)}
    links = _walk(str(path), listed, tree)
    while links:
        parent, name = links.pop(0)
        link = os.path.join(parent, name)
        real = os.path.realpath(link)
        back = os.path.join(os.path.realpath(parent), "").startswith(os.path.join(real, ""))
        if real not in listed and not back and follows(Path(link)):
            listed.add(real)
            links += _walk(link, listed, tree)
            tree[parent].folders.append(name)
    yield from _in_order(str(path), tree)


def is_image(file: Path | str) -> bool:
    """Whether a file is called as images are."""
    return os.fspath(file).lower().endswith(ENDINGS)


@dataclass
class _Folder:
    """Names in a folder, those of files sorted; links are links to folders."""

    files: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)


def _walk(path: str, listed: set[str], tree: dict[str, _Folder]) -> list[tuple[str, str]]:
    """Put a folder and those below it into the tree; returns where links to folders are, which are put aside."""
    links: list[tuple[str, str]] = []
    waiting = [(path, os.path.realpath(path))]
    while waiting:
        if len(listed) > MOST_FOLDERS:
            raise InputError(
                f"folder {path} has more than {MOST_FOLDERS} folders below it, links followed; name the folder of images itself"
            )
        folder, real = waiting.pop()
        inside = tree[folder] = _listed(folder)
        links += [(folder, name) for name in inside.links]
        own = [name for name in inside.folders if os.path.join(real, name) not in listed]
        inside.folders = own
        listed.update(os.path.join(real, name) for name in own)
        waiting += [(os.path.join(folder, name), os.path.join(real, name)) for name in own]
    return links


def _in_order(path: str, tree: dict[str, _Folder]) -> Iterator[tuple[str, list[str]]]:
    """Files of a tree by the parts of their paths: those of a folder stand where its name stands among files beside it."""
    # Each with what is left of its files, the last first, and its folders likewise.
    stack = [(path, tree.pop(path))]
    tails: dict[str, tuple[list[str], list[str]]] = {}
    while stack:
        folder, inside = stack[-1]
        if folder not in tails:
            tails[folder] = inside.files[::-1], sorted(inside.folders, reverse=True)
        files, folders = tails[folder]
        following = folders.pop() if folders else None
        group: list[str] = []
        while files and (following is None or files[-1] < following):
            group.append(files.pop())
        if group:
            yield folder, group
        if following is None:
            stack.pop()
            del tails[folder]
        else:
            below = os.path.join(folder, following)
            stack.append((below, tree.pop(below)))


def _listed(path: str) -> _Folder:
    real = Path(os.path.realpath(path))
    if any(real.is_relative_to(system) for system in _SYSTEM) and not real.is_relative_to(_SHARED_MEMORY):
        where = "" if path == str(real) else f" (it leads to {real})"
        raise InputError(f"folder {path} belongs to the operating system{where} and holds no data; name another folder")
    try:
        return retried(partial(_scanned, path))
    except OSError as error:
        raise InputError(
            f"folder {path} cannot be listed ({cause_of(error)}); allow reading it, or take it out"
        ) from error


def _scanned(path: str) -> _Folder:
    inside = _Folder()
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.name.startswith(_HIDDEN):
                continue
            if entry.is_symlink():
                # What leads nowhere is a file: named, and not to be read.
                if os.path.isdir(entry.path):
                    inside.links.append(entry.name)
                elif os.path.isfile(entry.path) or not os.path.exists(entry.path):
                    inside.files.append(entry.name)
            elif entry.is_dir():
                inside.folders.append(entry.name)
            elif entry.is_file():
                inside.files.append(entry.name)
    for names in (inside.files, inside.folders, inside.links):
        names.sort()
    return inside

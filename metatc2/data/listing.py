"""What lies in a folder: sub-folders, the files below them, and the names of classes; the one place that lists any."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

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
    return [entry for entry in _entries(path) if os.path.isdir(entry)]


def files_in(path: Path) -> list[Path]:
    """Files in a folder itself by name, links that lead nowhere included: named, and not to be read; hidden ones left out.

    Raises:
        InputError: if the folder cannot be listed.
    """
    return [entry for entry in _entries(path) if _is_file(entry)]


def files_below(path: Path, follows: Callable[[Path], bool] = lambda link: True) -> list[Path]:
    """Files in a folder and in all folders below it, in the order of their paths; hidden ones left out.

    Links to folders are followed, as torchvision's ``ImageFolder`` does. Every real folder is listed once, under its own
    name rather than a link's, and a link that leads back to a folder around it is not followed.

    Args:
        path: the folder.
        follows: whether a link to a folder is followed at all.

    Raises:
        InputError: if a folder cannot be listed, or there are more than `MOST_FOLDERS`.
    """
    listed = {os.path.realpath(path)}
    links: list[Path] = []
    files = _walk(path, listed, links)
    while links:
        link = links.pop(0)
        real = os.path.realpath(link)
        back = os.path.join(os.path.realpath(link.parent), "").startswith(os.path.join(real, ""))
        if real not in listed and not back and follows(link):
            listed.add(real)
            files += _walk(link, listed, links)
    return sorted(files)


def is_image(file: Path) -> bool:
    """Whether a file is called as images are."""
    return file.suffix.lower() in ENDINGS


def _walk(path: Path, listed: set[str], links: list[Path]) -> list[Path]:
    """Files below a folder, in no order; links to folders are put aside."""
    files: list[Path] = []
    folders = [path]
    while folders:
        if len(listed) > MOST_FOLDERS:
            raise InputError(
                f"folder {path} has more than {MOST_FOLDERS} folders below it, links followed; name the folder of images itself"
            )
        for entry in _entries(folders.pop()):
            if not os.path.isdir(entry):
                files += [entry] * _is_file(entry)
            elif entry.is_symlink():
                links.append(entry)
            elif (real := os.path.realpath(entry)) not in listed:
                listed.add(real)
                folders.append(entry)
    return files


def _is_file(path: Path) -> bool:
    return os.path.isfile(path) or (path.is_symlink() and not os.path.exists(path))


def _entries(path: Path) -> list[Path]:
    real = Path(os.path.realpath(path))
    if any(real.is_relative_to(system) for system in _SYSTEM) and not real.is_relative_to(_SHARED_MEMORY):
        where = "" if str(path) == str(real) else f" (it leads to {real})"
        raise InputError(f"folder {path} belongs to the operating system{where} and holds no data; name another folder")
    try:
        return sorted(entry for entry in path.iterdir() if not entry.name.startswith(_HIDDEN))
    except OSError as error:
        raise InputError(
            f"folder {path} cannot be listed ({cause_of(error)}); allow reading it, or take it out"
        ) from error

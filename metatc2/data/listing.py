"""What lies in a folder: sub-folders, the files below them, and the names of classes; the one place that lists any."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

from metatc2.errors import InputError, cause_of

ENDINGS = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".webp", ".avif", ".gif", ".bmp", ".dib", ".ico"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".pcx"),
)
_HIDDEN = (".", "__MACOSX")


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


def files_below(path: Path) -> list[Path]:
    """Files in a folder and in all folders below it, in the order of their paths; hidden ones left out.

    Links to folders are followed, as torchvision's ``ImageFolder`` does. Every real folder is listed once, under its own
    name rather than a link's, and a link that leads back to a folder around it is not followed.

    Raises:
        InputError: if a folder cannot be listed.
    """
    listed = {os.path.realpath(path)}
    links: list[Path] = []
    files = _walk(path, listed, links)
    while links:
        link = links.pop(0)
        real = os.path.realpath(link)
        back = os.path.join(os.path.realpath(link.parent), "").startswith(os.path.join(real, ""))
        if real not in listed and not back:
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
    try:
        return sorted(entry for entry in path.iterdir() if not entry.name.startswith(_HIDDEN))
    except OSError as error:
        raise InputError(
            f"folder {path} cannot be listed ({cause_of(error)}); allow reading it, or take it out"
        ) from error

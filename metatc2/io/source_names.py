"""Names of sources: their kind, the path that some go on with, and when two names are one place."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from metatc2.errors import InputError
from metatc2.io.plain_text import visible
from metatc2.io.registries import SOURCES

_PLACES = (":PATH", ":URI")


def path_kinds() -> tuple[str, ...]:
    """Sources whose name goes on with a path or an address.

    >>> "folder" in path_kinds(), "digits" in path_kinds()
    (True, False)
    """
    return tuple(name.partition(":")[0] for name in SOURCES if name.endswith(_PLACES))


def split_name(name: str) -> tuple[str, str]:
    """Kind and path; the path is empty where the source is none of files.

    >>> split_name("folder:C:/birds"), split_name("shapes:hue"), split_name("digits")
    (('folder', 'C:/birds'), ('shapes:hue', ''), ('digits', ''))
    """
    kind, _, path = name.partition(":")
    return (kind, path) if path and any(f"{kind}{place}" in SOURCES for place in _PLACES) else (name, "")


def tidy(name: str) -> str:
    """A name without what changes nothing in its path: ``./``, doubled and trailing slashes.

    >>> tidy("folder:./photos//"), tidy("digits")
    ('folder:photos', 'digits')
    """
    kind, path = split_name(name)
    if is_address(path):
        return f"{kind}:{path.rstrip('/')}"
    return f"{kind}:{Path(path)}" if path else name


def is_address(path: str) -> bool:
    """Whether a place is not one of this machine's files.

    >>> is_address("s3://bucket/photos"), is_address("C:/photos")
    (True, False)
    """
    return "://" in path


def check_path(name: str) -> None:
    """Refuse a source whose path is none, before anything asks the system for it.

    Raises:
        InputError: if it holds a NUL character, or begins with ``~`` and a name that no user has.

    >>> check_path("folder:~no-such-user/x")
    Traceback (most recent call last):
    metatc2.errors.InputError: folder:~no-such-user/x: no user of this machine has the name after ~; write the path out
    """
    path = split_name(name)[1]
    if "\0" in path:
        raise InputError(f"{visible(name)}: a path holds a NUL character, which no path can; leave it out")
    try:
        Path(path).expanduser()
    except RuntimeError:
        raise InputError(f"{name}: no user of this machine has the name after ~; write the path out") from None


def real_path(name: str) -> str:
    """Where a source of files lies, links and ``~`` resolved; empty for others.

    Raises:
        InputError: if the path holds a NUL character.

    >>> real_path("folder:/") == os.path.realpath("/"), real_path("digits")
    (True, '')
    """
    path = split_name(name)[1]
    if is_address(path):
        return path.rstrip("/")
    if "\0" in path:
        check_path(name)
    return os.path.realpath(os.path.expanduser(path)) if path else ""


def place(name: str) -> str:
    """Checksum of where a source of files lies, empty for others: it may be given away, which a path may not.

    >>> len(place("folder:/")), place("digits")
    (64, '')
    """
    path = real_path(name)
    return hashlib.sha256(os.fsencode(path)).hexdigest() if path else ""


def same_place(one: str, other: str) -> bool:
    """Whether two real paths are one file or folder: also where a file system knows a name in several spellings.

    >>> same_place("/nowhere/a", "/nowhere/b"), same_place("/", "/")
    (False, True)
    """
    try:
        return one == other or os.path.samefile(one, other)
    except OSError:
        return False


def within(one: str, other: str) -> bool:
    """Whether one of two real paths lies inside the other.

    >>> within("/data/photos", "/data"), within("/data", "/data/photos"), within("/data/a", "/data/ab")
    (True, True, False)
    """
    first, second = os.path.join(one, ""), os.path.join(other, "")
    return first.startswith(second) or second.startswith(first)

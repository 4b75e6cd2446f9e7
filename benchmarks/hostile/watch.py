"""What a process does besides reading: Python tells a hook of every file that is opened to be written, and of every program."""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path
from typing import Any

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.truncate", "os.chmod"}
_RUNS = {"pickle.find_class", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect", "os.fork"}


class Watch:
    """Notes writes outside of a folder, and whatever would run code of an input, from the moment it is made.

    Args:
        folder: in which everything may be written.
    """

    def __init__(self, folder: Path) -> None:
        self.inside = os.path.realpath(folder) + os.sep
        self.outside: list[str] = []
        self.ran: list[str] = []
        self.on = False
        sys.addaudithook(self._told)

    def _told(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event in _RUNS:
            self.ran.append(f"{event} {arguments[:2]!r}"[:200])
        elif event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & _WRITING:
                self._changed(event, path)
        elif event in _CHANGES:
            two = event in ("os.rename", "os.symlink", "os.link")
            places = arguments[2:] if two else (arguments[-1],) * (event in ("os.mkdir", "os.remove", "os.rmdir"))
            for path, place in itertools.zip_longest(arguments[: 1 + two], places, fillvalue=-1):
                self._changed(event, path, place)

    def _changed(self, event: str, path: Any, place: int = -1) -> None:
        """A change at a path, which may be relative to an opened folder."""
        if not isinstance(path, str | bytes | os.PathLike):  # a number of a file that is open already
            return
        above = os.readlink(f"/proc/self/fd/{place}") if place >= 0 else "."
        real = os.path.realpath(os.path.join(above, os.fsdecode(path)))
        if not f"{real}{os.sep}".startswith(self.inside) and real != os.devnull:
            self.outside.append(f"{event} {real}"[:200])

"""A folder that one process at a time may work on."""

from __future__ import annotations

import json
import os
import platform
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from metatc2.io.files import check_no_link, check_regular, is_alive, make_folder

_TRIES, _PAUSE = 10, 0.02  # a process that only looks holds the lock for a moment


class Unlocked(UserWarning):
    """The file system has no locks, so nothing keeps a second process out."""


class FolderLock:
    """An exclusive lock on a file, held by the kernel for this process: it goes when the process ends, however it ends.

    Args:
        file: made when the lock is taken and removed when it is given back. It says which process holds it.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._opened: IO[str] | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds it."""
        return self._opened is not None

    def take(self) -> str | None:
        """Take the lock.

        Returns:
            None, or in words the process that holds it.

        Raises:
            OSError: if the file cannot be made or written; the lock is then not held, and the file gone.
            InputError: if a link, or something that is no file, stands in its place.
        """
        check_regular(self.file)
        check_no_link(self.file, "a lock")
        for attempt in range(_TRIES):
            if attempt:
                time.sleep(_PAUSE)
            opened = self.file.open("a+", encoding="utf-8", errors="replace")
            free = _lock(opened, exclusive=True)
            if free is None:
                return self._take_without_locks(opened)
            # Another process may have given it back, and the file away with it, since it was opened.
            if free and _same(opened, self.file):
                self._keep(opened)
                return None
            holder = _process(opened)
            opened.close()
        return holder

    def give_back(self) -> None:
        """Give the lock back; nothing where it is not held."""
        if self._opened is None:
            return
        try:
            with suppress(OSError):
                self.file.unlink(missing_ok=True)
        finally:
            # What could not be written to a full disk is tried again when the file is closed.
            with suppress(OSError):
                self._opened.close()
            self._opened = None

    def holder(self) -> str | None:
        """The process that holds it, in words; None if there is none, or it is this object."""
        if self.held:
            return None
        check_regular(self.file)
        try:
            with self.file.open(encoding="utf-8", errors="replace") as opened:
                free = _lock(opened, exclusive=False)
                if free is None:
                    return _alive(opened)
                return None if free else _process(opened)
        except OSError:
            return None

    def _take_without_locks(self, opened: IO[str]) -> str | None:
        if holder := _alive(opened):
            opened.close()
            return holder
        warnings.warn(
            f"{self.file.parent}: this file system has no locks; see to it that no second process works in the folder",
            Unlocked,
            stacklevel=4,
        )
        self._keep(opened)
        return None

    def _keep(self, opened: IO[str]) -> None:
        self._opened = opened
        try:
            opened.truncate(0)
            opened.write(json.dumps({"process": os.getpid(), "machine": platform.node()}))
            opened.flush()
        except OSError:
            self.give_back()
            raise


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Wait until no other process reads and rewrites the results in a folder, and keep others waiting for the block.

    The folder is made if need be.

    Raises:
        OSError: if the lock cannot be made.
    """
    make_folder(folder)
    lock = FolderLock(folder / ".results.lock")
    while lock.take() is not None:
        time.sleep(_PAUSE)
    try:
        yield
    finally:
        lock.give_back()


def _lock(opened: IO[str], *, exclusive: bool) -> bool | None:
    """Whether the file could be locked; None where there are no locks."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    try:
        fcntl.flock(opened, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _same(opened: IO[str], file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(opened.fileno()), file.stat())
    except OSError:
        return False


def _read(opened: IO[str]) -> tuple[int | None, str]:
    opened.seek(0)
    try:
        holder = json.loads(opened.read(1000))
        return int(holder["process"]), str(holder["machine"])
    except (ValueError, KeyError, TypeError, OverflowError):
        return None, ""


def _process(opened: IO[str]) -> str:
    process, machine = _read(opened)
    if process is None:
        return "another process"
    return f"process {process}" + (f" on {machine}" if machine != platform.node() else "")


def _alive(opened: IO[str]) -> str | None:
    """Without locks the file alone says who works in the folder; a process of another machine counts as alive."""
    process, machine = _read(opened)
    if process is None or (machine == platform.node() and not is_alive(process)):
        return None
    return _process(opened)

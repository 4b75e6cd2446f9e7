"""Files and folders that are there whole or not at all, also after a cut of power; and what cut processes left behind."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from metatc2.errors import InputError, cause_of

# `.NAME.PID.tmp`, written by process PID.
_ASIDE = re.compile(r"\..+\.(\d{1,10})\.tmp", re.DOTALL)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, and stays when the power fails.

    Missing folders are made. A link of this name is replaced, and what it leads to stays as it is.

    Raises:
        OSError: if it cannot be written; an earlier file of the name is then as it was.
    """
    with _folder_for(path):
        aside = _aside(path)
        try:
            _write(aside, content)
            os.replace(aside, path)
            sync_folder(path.parent)
        finally:
            with suppress(OSError):
                aside.unlink(missing_ok=True)


def write_folder_atomically(path: Path, fill: Callable[[Path], None]) -> None:
    """Make a folder that is there with all that `fill` writes into it, or not at all.

    Args:
        path: a folder of this name is replaced; unlike a file it is gone for a moment.
        fill: gets the folder to write into; files that it writes with `write_synced` stay when the power fails.

    Raises:
        OSError: if it cannot be written.
    """
    with _folder_for(path):
        aside = _aside(path)
        shutil.rmtree(aside, ignore_errors=True)
        try:
            os.mkdir(aside)
            fill(aside)
            sync_folder(aside)
            if path.is_symlink():
                path.unlink()  # as of files: the link goes, and what it leads to stays
            elif path.exists():
                shutil.rmtree(path)
            os.rename(aside, path)
            sync_folder(path.parent)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def fill_folder(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write files into a folder that is new or empty, in their order; where one cannot be written, all are taken away again.

    Args:
        folder: made if need be.
        contents: of the files, by their names.

    Raises:
        OSError: if one cannot be written; the folder is then as it was.
    """
    with _folder_for(folder / "file"):
        try:
            for name, content in contents.items():
                write_atomically(folder / name, content)
        except (OSError, KeyboardInterrupt):
            for name in contents:
                with suppress(OSError):
                    (folder / name).unlink(missing_ok=True)
            raise


def write_synced(path: Path, content: bytes) -> None:
    """Write a file inside a folder that is not in its place yet, see `write_folder_atomically`."""
    _write(path, content)


def check_regular(path: Path) -> None:
    """A device or a pipe in the place of a file is refused before it is opened, which might wait for ever.

    Called by whatever opens a file that a person named, or that lies in a folder that a person named. What is not there, or
    is a folder, is left to the reader, which has words of its own for it.

    Raises:
        InputError: if it is neither a file nor a folder.

    >>> check_regular(Path("/dev/null"))
    Traceback (most recent call last):
    metatc2.errors.InputError: /dev/null is a device or pipe; name a file
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise InputError(f"{path} is a device or pipe; name a file")


def check_no_link(path: Path, what: str) -> None:
    """A link in the place of something that is written to where it lies, rather than replaced, is refused.

    What it leads to may be anything of the user's, and a folder that came from elsewhere may bring such links along. Folders
    that the user names may be links, and files that are replaced whole take the place of a link.

    Args:
        path: there or not.
        what: writes to it, for the error.

    Raises:
        InputError: if it is a link.

    >>> check_no_link(Path("nowhere"), "a run")
    """
    if path.is_symlink():
        raise InputError(
            f"{path} is a link (to {os.readlink(path)}), and {what} writes nothing outside of its own folder; put what it "
            "leads to in its place, or delete it"
        )


def read_file(path: Path) -> bytes:
    """The content of a file, which must be one.

    Raises:
        OSError: if it cannot be read.
        InputError: if it is a device or a pipe.
    """
    check_regular(path)
    return path.read_bytes()


def make_folder(path: Path) -> None:
    """Make a folder and those above it, so that they stay when the power fails."""
    missing = _missing(path)
    path.mkdir(parents=True, exist_ok=True)
    for folder in reversed(missing):
        sync_folder(folder.parent)


def sync_folder(path: Path) -> None:
    """Have the names in a folder written to the disk; does nothing on file systems that cannot."""
    try:
        opened = os.open(path, os.O_RDONLY)
    except OSError:
        return  # Windows does not open folders
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno in (errno.EIO, errno.ENOSPC, errno.EDQUOT):
            raise
    finally:
        os.close(opened)


def remove_leftovers(folder: Path) -> list[Path]:
    """Remove what processes that are no more have left half-written in a folder; returns what was removed."""
    leftovers = []
    for path in folder.glob(".*.tmp") if folder.is_dir() else ():
        match = _ASIDE.fullmatch(path.name)
        if match and not _could_write(int(match[1]), path):
            leftovers.append(path)
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                with suppress(OSError):
                    path.unlink(missing_ok=True)
    return leftovers


def is_leftover(path: Path) -> bool:
    """Whether a name is that of a half-written file."""
    return _ASIDE.fullmatch(path.name) is not None


def is_alive(process: int) -> bool:
    """Whether a process of this machine runs."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True  # of another user
    return True


@contextmanager
def writing(path: Path | str, cure: str = "name a folder of yours") -> Iterator[None]:
    """Turns an error of the operating system inside the block into one sentence.

    Args:
        path: what is being written, or the option and its value that name it.
        cure: end of the sentence where neither a full disk nor a wrong name is the reason.

    Raises:
        InputError: in place of an `OSError`.

    >>> with writing(Path("results.json"), "name another file"):
    ...     raise PermissionError(13, "Permission denied")
    Traceback (most recent call last):
    metatc2.errors.InputError: results.json cannot be written (Permission denied); name another file
    """
    try:
        yield
    except OSError as error:
        raise InputError(f"{path} cannot be written ({cause_of(error)}); {_cure(error, cure)}") from error


@contextmanager
def reading(path: Path, cure: str = "see to it that you may read it") -> Iterator[None]:
    """As `writing`, for reading.

    Raises:
        InputError: in place of an ``OSError`` within the block.
    """
    try:
        yield
    except OSError as error:
        raise InputError(f"{path} cannot be read ({cause_of(error)}); {cure}") from error


def check_writable(folder: Path, cure: str = "name a folder of yours", *, named: str = "") -> None:
    """Find out before the work whether a folder, there already or yet to be made, can be written to. Leaves no trace.

    Args:
        folder: to be written to.
        cure: see `writing`.
        named: what is said not to be writable; by default the folder.

    Raises:
        InputError: if it cannot.
    """
    with writing(named or folder, cure):
        with suppress(FileNotFoundError, NotADirectoryError):
            os.lstat(folder)  # a name that is too long
        above = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
        if not above.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{above} is not a folder")
        with tempfile.TemporaryFile(dir=above) as probe:
            probe.write(bytes(4096))
            probe.flush()
            os.fsync(probe.fileno())


def check_new_folder(folder: Path, cure: str, *, written: Path | None = None) -> None:
    """Refuse a folder in which there is something, or that could not be made: asked before the work.

    Args:
        folder: there or not.
        cure: what names another, as the end of a sentence.
        written: where files are made first, if that is not the folder itself.

    Raises:
        InputError: if so.

    >>> check_new_folder(Path("no/such"), "name another")
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists already; {cure}")
    check_writable(folder if written is None else written, cure, named=str(folder))


def printable(text: str) -> str:
    r"""Text that UTF-8 can hold: bytes of file names that are not text become ``\\udcXX``.

    >>> printable("a" + chr(0xDCFF))
    'a\\udcff'
    """
    return text.encode("utf-8", "backslashreplace").decode()


@contextmanager
def _folder_for(path: Path) -> Iterator[None]:
    """Make the folder of a file for the block, and take it away again where the block could not write into it."""
    missing = _missing(path.parent)
    try:
        make_folder(path.parent)
        yield
    except (OSError, KeyboardInterrupt):
        for folder in missing:
            with suppress(OSError):
                folder.rmdir()  # unless something is in it
        raise


def _missing(path: Path) -> list[Path]:
    """The folders of a path that are not there, the innermost first."""
    return [folder for folder in (path, *path.parents) if not folder.exists()]


def _aside(path: Path) -> Path:
    # Names may be as long as the file system allows.
    return path.with_name(f".{path.name[:40]}.{os.getpid()}.tmp")


def _write(path: Path, content: bytes) -> None:
    # Names of half-written files can be foreseen: a link that lies there must not lead the content elsewhere, a pipe not wait.
    with suppress(FileNotFoundError, IsADirectoryError, PermissionError):
        path.unlink()
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _cure(error: OSError, otherwise: str) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "free some space and try again"
    if error.errno == errno.ENAMETOOLONG:
        return "give it a shorter name"
    return otherwise


def _could_write(process: int, path: Path) -> bool:
    """Whether `path` may be what this process writes just now: it runs, and began before `path` was last written."""
    if not is_alive(process):
        return False
    try:
        # Numbers of processes are used again, in containers at every start.
        return path.stat().st_mtime > _started(process) - 10
    except (OSError, ValueError, IndexError):
        return True


def _started(process: int) -> float:
    """When a process began, in seconds since 1970; raises where the system does not say so (Linux does)."""
    after_name = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    boot = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime"))
    return int(boot.split()[1]) + int(after_name[19]) / os.sysconf("SC_CLK_TCK")

"""What a file that torch refused is, told from its bytes; nothing in it is run."""

from __future__ import annotations

import io
import pickletools
import zipfile
from pathlib import Path
from typing import BinaryIO

ZIP, PICKLE = b"PK\x03\x04", b"\x80"
_PICKLES = 4  # of torch's older format: its mark, its version, the system, the object
_CHUNK = 64


def is_whole_pickle(file: Path) -> bool:
    """Whether a file is a complete pickle, plain or within the archives of ``torch.save``; False if it is damaged.

    Raises:
        OSError: if it cannot be read.
    """
    with file.open("rb") as opened:
        start = opened.read(len(ZIP))
        opened.seek(0)
        try:
            if start == ZIP:
                with zipfile.ZipFile(opened) as archive:
                    inside = [name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl"]
                    return len(inside) == 1 and _parses(io.BytesIO(archive.read(inside[0])), 1)
            return start.startswith(PICKLE) and _parses(opened, _PICKLES)
        except OSError:
            raise
        except Exception:  # zipfile, zlib and pickletools raise a dozen kinds on damaged files
            return False


def is_torchscript(file: Path) -> bool:
    """Whether a file is an archive of ``torch.jit.save``: a network as code, not a table of tensors; False if it is damaged.

    Raises:
        OSError: if it cannot be read.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            return any(name.rpartition("/")[2] == "constants.pkl" for name in archive.namelist())
    except OSError:
        raise
    except Exception:  # zipfile and zlib raise several kinds on damaged files
        return False


def beginning(file: Path) -> str:
    """What a file is that begins neither as an archive nor as a pickle; empty if it begins as one of them.

    Raises:
        OSError: if it cannot be read.
    """
    with file.open("rb") as opened:
        start = opened.read(_CHUNK)
    if start.startswith((ZIP, PICKLE)):
        return ""
    if not start:
        return "it is empty"
    if start.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS and not the file itself"
    if start.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return "it is a web page"
    return f"it begins with {start[:4]!r}, as neither an archive of torch nor a pickle does"


def _parses(stream: BinaryIO, most: int) -> bool:
    for _ in range(most):
        for _ in pickletools.genops(stream):
            pass
        if not (rest := stream.read(1)):
            break
        stream.seek(-len(rest), io.SEEK_CUR)
    return True

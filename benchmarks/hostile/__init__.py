"""The kinds of input of `fuzz.py`, in the order of its results."""

from hostile import binaries, folders, json_files, names, texts
from hostile.kind import Kind

KINDS: tuple[Kind, ...] = (
    *texts.KINDS,
    *json_files.KINDS,
    *binaries.KINDS,
    *names.KINDS,
    *folders.KINDS,
)

__all__ = ["KINDS", "Kind"]

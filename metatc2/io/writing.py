"""JSON and CSV as they are written: valid for every reader, and text from outside stays text."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from metatc2.errors import InputError
from metatc2.io.files import check_writable, writing
from metatc2.io.plain_text import visible
from metatc2.io.run_files import folder_of_file

# What a spreadsheet takes for the start of a formula (OWASP, "CSV injection"), also in full width.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")


def json_text(value: Any, *, indent: int | None = 1) -> str:
    """JSON in ASCII that ends in a line break; a number that is not finite becomes null, since JSON has no word for it.

    >>> json_text({"a": [1.5, float("nan")], "b": "é"}, indent=None)
    '{"a": [1.5, null], "b": "\\\\u00e9"}\\n'
    """
    return json.dumps(_finite(value), indent=indent, allow_nan=False) + "\n"


def check_replaceable(path: Path, flag: str, endings: Sequence[str]) -> None:
    """A file that is written aside and renamed takes the place of what is there; asked before the work whether it may.

    It may not be a device or a folder, nor a file of a run, and what is there must be of the kind that is written: a page
    takes the place of a page, never that of a picture or of weights. The folder must be one that can be written to.

    Args:
        path: the file to be written.
        flag: what named it, for the error.
        endings: of files that may be replaced, e.g. ``(".json",)``.

    Raises:
        InputError: if it may not.
    """
    with writing(f"{flag} {path}", "name a file in a folder of yours"), suppress(FileNotFoundError, NotADirectoryError):
        os.lstat(path)  # a name that is too long
    if os.path.lexists(path) and not path.is_symlink() and not path.is_file():
        kind = "a folder" if path.is_dir() else "a device or pipe"
        raise InputError(f"{flag} {path}: is {kind}; name a file in a folder of yours")
    if (folder := folder_of_file(path)) is not None:
        raise InputError(f"{flag} {path}: is the name of a file that is kept in {folder}; choose another name")
    if os.path.lexists(path) and path.suffix.lower() not in endings:
        raise InputError(
            f"{flag} {path}: is there already, and only files that end in {' or '.join(endings)} are replaced; choose another "
            "name, or delete it first"
        )
    check_writable(path.parent, "name a file in a folder of yours", named=f"{flag} {path}")


def csv_text(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    r"""A CSV table that a spreadsheet opens without computing anything.

    A text that begins like a formula gets an apostrophe before it, as spreadsheets themselves write it; numbers stay numbers,
    also those given as text. What would act is written as its escape.

    >>> print(csv_text(["class", "mean"], [["=1+1", -0.5], ["cat, small", 1]]), end="")
    class,mean
    '=1+1,-0.5
    "cat, small",1
    """
    content = io.StringIO()
    writer = csv.writer(content, lineterminator="\n")
    writer.writerows([[_inert(value) for value in row] for row in (columns, *rows)])
    return content.getvalue()


def _inert(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = visible(value)
    return f"'{text}" if value.lstrip(" \u00a0\ufeff\u200b\n").startswith(_FORMULA) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text)) and text.isascii()
    except ValueError:
        return False


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value

"""The file that `--json` names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from metatc2.errors import InputError
from metatc2.writing import check_replaceable, json_text


def write_json(path: str | None, rows: list[dict[str, Any]] | dict[str, Any]) -> None:
    """Write rows, or one mapping, where a file was named.

    Raises:
        InputError: if it cannot be written.
    """
    if path is None:
        return
    from metatc2.checkpoint import write_atomically

    check_replaceable(Path(path), "--json")

    try:
        write_atomically(Path(path), json_text(rows).encode())
    except OSError as error:
        raise InputError(
            f"--json {path}: cannot be written ({error.strerror}); name a file in a folder of yours"
        ) from error

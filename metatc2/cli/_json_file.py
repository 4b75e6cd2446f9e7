"""The file that `--json` names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from metatc2.io.files import write_atomically, writing
from metatc2.io.writing import check_replaceable, json_text


def json_target(path: str | None, *, own: Path | None = None) -> Path | None:
    """The file that was named, if it may be written; asked before the work.

    Args:
        path: as it was typed; None where no file was named.
        own: a file that the command writes besides, with the same content, and which may be named again.

    Raises:
        InputError: see `check_replaceable`.
    """
    if path is None:
        return None
    if own is None or Path(path).absolute() != own.absolute():
        check_replaceable(Path(path), "--json", (".json",))
    return Path(path)


def write_json(path: Path | None, rows: list[dict[str, Any]] | dict[str, Any]) -> None:
    """Write rows, or one mapping, where a file was named.

    Raises:
        InputError: if it cannot be written.
    """
    if path is not None:
        with writing(f"--json {path}", "name a file in a folder of yours"):
            write_atomically(path, json_text(rows).encode())

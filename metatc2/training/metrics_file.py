"""``metrics.jsonl``: one record a line of how training goes."""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metatc2.io.files import check_no_link, check_regular, read_file, reading, write_atomically, writing
from metatc2.io.writing import json_text


class OddRecords(UserWarning):
    """Lines of ``metrics.jsonl`` are no records and were passed over."""


def read_metrics(file: Path) -> list[dict[str, Any]]:
    """Records in the order of their lines; each has a whole number ``step`` and a number ``loss``.

    What is no record is passed over with a warning: records are for people, and no reason to refuse a run. The last line is
    passed over in silence where it was cut.

    Args:
        file: need not be there.

    Raises:
        InputError: if the file is there and cannot be read.
    """
    return [record for _, record in _lines(file)]


def append_metrics(file: Path, record: Mapping[str, Any]) -> None:
    """Add a record.

    Raises:
        InputError: if it cannot be written.
    """
    check_regular(file)
    check_no_link(file, "a run")
    with writing(file), file.open("ab") as opened:
        opened.write(json_text(record, indent=None).encode())


def cut_metrics(file: Path, step: int) -> list[dict[str, Any]]:
    """Forget records of steps after `step` and whatever is no record; the file is replaced at once.

    Returns:
        The records that are left.

    Raises:
        InputError: if the file cannot be read or written.
    """
    if not file.exists():
        return []
    kept = [(line, record) for line, record in _lines(file) if record["step"] <= step]
    content = b"".join(line + b"\n" for line, _ in kept)
    with reading(file):
        changed = content != read_file(file)
    if changed:
        with writing(file):
            write_atomically(file, content)
    return [record for _, record in kept]


def _lines(file: Path) -> list[tuple[bytes, dict[str, Any]]]:
    if not os.path.lexists(file):
        return []
    with reading(file):
        lines = read_file(file).split(b"\n")
    records, odd = [], []
    for number, line in enumerate(lines, 1):
        record = _record(line)
        if record is not None:
            records.append((line, record))
        elif line.strip() and number < len(lines):
            odd.append(number)
    if odd:
        some = ", ".join(map(str, odd[:5])) + (", ..." if len(odd) > 5 else "")
        warnings.warn(f"{file}: no record of a step in line {some}; passed over", OddRecords, stacklevel=4)
    return records


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
        if type(record["step"]) is not int or record["step"] < 0 or record["step"] >= 2**63:
            return None
        values = {name: value for name, value in record.items() if name not in ("step", "alarms")}
        # What is not finite was written as null, since JSON has no word for it.
        numbers = {name: math.nan if value is None else float(value) for name, value in values.items()}
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError, AttributeError):
        return None
    if any(isinstance(value, str | bool) for value in values.values()):
        return None
    alarms = record.get("alarms", {})
    texts = isinstance(alarms, dict) and all(isinstance(text, str) for text in alarms.values())
    if not texts or not math.isfinite(numbers.get("loss", math.nan)):
        return None
    return {"step": record["step"], **numbers, **({"alarms": alarms} if "alarms" in record else {})}

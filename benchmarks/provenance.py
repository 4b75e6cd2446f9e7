"""Where every table comes from: the committed file, its checksum, seeds, machine and the command that makes it again."""

from __future__ import annotations

import ast
import csv
import hashlib
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

BENCHMARKS = Path(__file__).resolve().parent
ROOT = BENCHMARKS.parent
_COMMAND = re.compile(r"^\s*(python benchmarks/\S+[^#\n]*)", re.MULTILINE)


def result_files() -> list[Path]:
    """Every committed file of results."""
    studies = (BENCHMARKS / "studies" / "results").glob("*.csv")
    return [*sorted((BENCHMARKS / "results").glob("*.json")), *sorted(studies)]


def rows() -> list[dict[str, Any]]:
    """A row a file: its name, the script and first command that make it, seeds, machine, checksum."""
    return [_row(path) for path in result_files()]


def table(result: Sequence[Mapping[str, Any]]) -> str:
    """One line a file."""
    lines = ["| file | made by | seeds | machine | sha256 |", "|---|---|---|---|---|"]
    for row in result:
        script = f"[`{row['command']}`](../{row['script']})"
        lines.append(
            f"| [{row['name']}](../{row['file']}) | {script} | {row['seeds']} | {row['machine']} | `{row['sha256']}` |"
        )
    return "\n".join(lines)


def _row(path: Path) -> dict[str, Any]:
    script = (BENCHMARKS if path.suffix == ".json" else BENCHMARKS / "studies") / f"{path.stem}.py"
    about, seeds = _of_json(path) if path.suffix == ".json" else _of_csv(path)
    return {
        "name": path.name,
        "file": path.relative_to(ROOT).as_posix(),
        "script": script.relative_to(ROOT).as_posix(),
        "command": first_command(script),
        "seeds": seeds,
        "machine": f"{about['cpu']}, {about['threads']} thread{'s' * (about['threads'] != 1)}, torch {about['torch']}",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


def first_command(script: Path) -> str:
    """The first command in the head of a script; the head has the others."""
    head = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or ""
    result = _COMMAND.search(head)
    return result[1].strip() if result else f"python {script.relative_to(ROOT).as_posix()}"


def spans(numbers: Sequence[int]) -> str:
    """Whole numbers, those that follow each other as a span.

    >>> spans([3, 0, 1, 2, 100])
    '0–3, 100'
    """
    parts: list[list[int]] = []
    for number in sorted(set(numbers)):
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(str(part[0]) if len(part) == 1 else f"{part[0]}–{part[-1]}" for part in parts)


def _of_json(path: Path) -> tuple[dict[str, Any], str]:
    content = json.loads(path.read_text(encoding="utf-8"))
    return content["environment"], "–"


def _of_csv(path: Path) -> tuple[dict[str, Any], str]:
    with path.open(encoding="utf-8", newline="") as file:
        seeds = [int(row["seed"]) for row in csv.DictReader(file) if row.get("seed")]
    return tomllib.loads(path.with_suffix(".toml").read_text(encoding="utf-8")), spans(seeds) or "–"

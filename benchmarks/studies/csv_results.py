"""Results of a study as CSV: one line a cell, of the columns that its tables and figures need.

The facts of the machine stand beside it in a TOML file of the same name, so that the CSV is rows and nothing else.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tomli_w
from shared import environment, refuse

from metatc2.io.files import write_atomically

FOLDER = Path(__file__).resolve().parent / "results"
DIGITS = 4  # significant ones of a number with a fraction, where a study says nothing else
_WRITTEN = {
    int: (re.compile(r"-?\d+"), "a whole number"),
    float: (re.compile(r"-?\d+(\.\d+)?(e[+-]\d+)?"), "a number"),
    bool: (re.compile(r"true|false"), "true or false"),
}

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Results:
    """A CSV file whose columns are known.

    Args:
        path: the file.
        columns: type by name, one of str, int, float and bool; what is nested in a row has a dotted name, as ``test.mean``.
        digits: significant ones of a float; None keeps every bit.
    """

    path: Path
    columns: Mapping[str, type]
    digits: int | None = DIGITS

    def at(self, path: Path) -> Results:
        """The same columns in another file."""
        return replace(self, path=path)

    def read(self) -> list[dict[str, Any]]:
        """Its rows, nested; an empty field is no value: the row has no such key, and one that nests nothing has none either.

        A file that is missing or damaged is refused in a sentence that names the line.
        """
        try:
            with self.path.open(encoding="utf-8", newline="") as file:
                return list(self._rows(file))
        except FileNotFoundError:
            refuse(f"{self.path} is missing; name a file of results, or bring it back with git")
        except UnicodeDecodeError as error:
            refuse(f"{self.path} is not UTF-8 ({error.reason} at byte {error.start}); bring it back with git")

    def _rows(self, file: Iterable[str]) -> Iterator[dict[str, Any]]:
        lines = csv.reader(file, strict=True)
        try:
            header = next(lines, [])
            wrong = [name for name in header if name not in self.columns or header.count(name) > 1]
            if wrong or not header:
                what = f"has {wrong[0]!r}, which is unknown or there twice" if wrong else "is missing"
                refuse(f"{self.path}: the header {what}; expected are names among {', '.join(self.columns)}")
            for fields in lines:
                where = f"{self.path}, line {lines.line_num}"
                if len(fields) != len(header):
                    refuse(f"{where}: {len(fields)} fields where the header has {len(header)}; mend or remove the line")
                yield nested({n: self._value(n, text, where) for n, text in zip(header, fields, strict=True) if text})
        except csv.Error as error:
            refuse(f"{self.path}, line {lines.line_num}: {error}; mend or remove the line")

    def _value(self, name: str, text: str, where: str) -> Any:
        kind = self.columns[name]
        if kind is str:
            return text
        pattern, expected = _WRITTEN[kind]
        if not pattern.fullmatch(text):
            refuse(f"{where}: {text!r} in column {name} is not {expected}; mend or remove the line")
        return text == "true" if kind is bool else kind(text)

    def write(self, rows: Sequence[Row], about: Mapping[str, Any] | None = None) -> None:
        """Write the rows, and the facts of the machine beside them; files that hold these rows already stay as they are.

        Results of nothing are refused: a file of an earlier measurement stays as it was.

        Args:
            rows: nested or flat; what is no column is left out, and so is a column that no row fills. A number that is not
                finite is no value.
            about: facts for the TOML file; those of this machine where None.

        Raises:
            TypeError: if a value has not the type of its column.
        """
        if not rows:
            refuse(
                f"nothing has been measured, so {self.path} is not written; are --runs and the names asked for right?"
            )
        content = self.text(rows).encode()
        if self.path.exists() and self.path.read_bytes() == content:
            return
        facts = environment() if about is None else about
        given = {key: value for key, value in facts.items() if value is not None}
        write_atomically(self.path.with_suffix(".toml"), tomli_w.dumps(given).encode())
        write_atomically(self.path, content)

    def text(self, rows: Sequence[Row]) -> str:
        """The rows as they are written.

        >>> made = Results(Path("x.csv"), {"arm": str, "seed": int, "test.mean": float, "diverged": bool})
        >>> print(made.text([{"arm": "plain", "seed": 0, "test": {"mean": 1 / 3}}, {"arm": "a, b", "seed": 1}]), end="")
        arm,seed,test.mean
        plain,0,0.3333
        "a, b",1,
        """
        lines = [dict(flat(row)) for row in rows]
        names = [name for name in self.columns if any(line.get(name) is not None for line in lines)]
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([self._text(name, line.get(name)) for name in names] for line in lines)
        return out.getvalue()

    def _text(self, name: str, value: Any) -> str:
        kind = self.columns[name]
        if value is None:
            return ""
        if not _fits(value, kind):
            raise TypeError(f"column {name} holds {kind.__name__}, and an empty text is no value; got {value!r}")
        if kind is bool:
            return "true" if value else "false"
        return self._number(float(value)) if kind is float else str(value)

    def _number(self, value: float) -> str:
        if not math.isfinite(value):
            return ""
        return f"{value:.{self.digits}g}" if self.digits else repr(value)


def _fits(value: Any, kind: type) -> bool:
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    return isinstance(value, int | float if kind is float else kind) and value != ""


def rounded(value: Any) -> Any:
    """The same with numbers of as many digits as results hold."""
    if isinstance(value, list):
        return [rounded(part) for part in value]
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def flat(row: Row, before: str = "") -> Iterator[tuple[str, Any]]:
    """Values by dotted name.

    >>> dict(flat({"seed": 0, "test": {"mean": 0.5, "factors": {"hue": 0.1}}}))
    {'seed': 0, 'test.mean': 0.5, 'test.factors.hue': 0.1}
    """
    for key, value in row.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `flat`.

    >>> nested({"seed": 0, "test.mean": 0.5})
    {'seed': 0, 'test': {'mean': 0.5}}
    """
    row: dict[str, Any] = {}
    for name, value in values.items():
        *outer, last = name.split(".")
        place = row
        for key in outer:
            place = place.setdefault(key, {})
        place[last] = value
    return row

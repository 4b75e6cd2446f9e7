"""The two files that keep result rows: ``transfer.json`` and the accuracies it summarizes beside it."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_origin, get_type_hints

from safetensors import SafetensorError
from safetensors.torch import save as save_tensors
from torch import Tensor

from metatc2.errors import InputError, cause_of, nearest
from metatc2.io.files import printable, read_file, write_atomically, writing
from metatc2.io.reading import parse_json
from metatc2.io.safetensors_file import read_safetensors
from metatc2.io.suggest import command
from metatc2.io.writing import json_text
from metatc2.transfer.row import FACTS, Row

_CONTENT = "metatc2 accuracies"
_LARGEST = 2**63  # of whole numbers; what is larger was not measured


def write_results(path: Path, rows: Sequence[Row], accuracies: Mapping[str, Tensor]) -> None:
    """Write the rows as a JSON list, and the accuracies beside it with the ending ``.safetensors``.

    Args:
        path: usually ``DIR/transfer.json``; replaced if it exists.
        rows: see `Row`.
        accuracies: by `Row.key`: accuracy of each episode (k-NN: of each image), so that runs can be compared in pairs.

    Raises:
        InputError: if two rows have the same key, the file beside `path` is not one of accuracies, or one cannot be
            written.
    """
    keys = [row.key for row in rows]
    if len(set(keys)) < len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise InputError(f"{path}: two rows have the key {twice!r}; write each result once")
    beside = _beside(path)
    if beside.exists():
        _accuracies(beside)
    content = json_text([dataclasses.asdict(row) for row in rows]).encode()
    # First what is pointed at. It names the rows that it belongs to, and those that a cut between the two would leave.
    earlier = read_file(path) if path.is_file() else b""
    about = {"content": _CONTENT, "rows_sha256": _sha256(content), "earlier_sha256": _sha256(earlier)}
    tensors = {printable(key): accuracies[key].detach().cpu().contiguous().clone() for key in keys if key in accuracies}
    with writing(path):
        write_atomically(beside, save_tensors(tensors, metadata=about))
        write_atomically(path, content)


def read_results(path: Path) -> tuple[list[Row], dict[str, Tensor]]:
    """Rows, and accuracies by `Row.key`; no accuracies if the file beside `path` is missing.

    Raises:
        InputError: if a file is missing, truncated, not of this form, or the two do not belong together.
    """
    fix = "delete it and run `metatc2 transfer` again"
    try:
        content = read_file(path)
        stored = parse_json(content, "it", finite=False)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; make it with: {command('transfer', path.parent)}") from error
    except (OSError, InputError) as error:
        raise InputError(f"{path} cannot be read as JSON ({cause_of(error)}); {fix}") from error
    if not isinstance(stored, list):
        raise InputError(f"{path} must hold a list of result rows, got {type(stored).__name__}; {fix}")
    rows = [_row(item, f"{path}, row {i}") for i, item in enumerate(stored)]
    beside = _beside(path)
    if not beside.exists():
        return rows, {}
    about, named = _accuracies(beside)
    accuracies = {row.key: named[printable(row.key)] for row in rows if printable(row.key) in named}
    wrong = [row.key for row in rows if row.key in accuracies and not _is_mean(row.mean, accuracies[row.key])]
    sha256 = _sha256(content)
    if about.get("rows_sha256", sha256) != sha256:
        if about.get("earlier_sha256") != sha256:
            raise InputError(
                f"{path} and {beside.name} do not belong together: the rows are not those that were written; delete both and "
                "run `metatc2 transfer` again"
            )
        # Cut between the two files: the rows are the earlier ones, and so are the accuracies that fit them.
        return rows, {key: values for key, values in accuracies.items() if key not in wrong}
    if wrong:
        raise InputError(
            f"{path} and {beside.name} do not belong together ({wrong[0]}); delete both and run `metatc2 transfer` again"
        )
    return rows, accuracies


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _is_mean(mean: float, values: Tensor) -> bool:
    return values.is_floating_point() and abs(float(values.double().mean()) - mean) < 1e-6


def _beside(path: Path) -> Path:
    return path.with_suffix(".safetensors")


def _accuracies(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """What a file of accuracies says about itself, and the accuracies."""
    try:
        named, about = read_safetensors(path)
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{path} cannot be read ({error}); delete it and {path.stem}.json, and run `metatc2 transfer` again"
        ) from error
    if about.get("content") != _CONTENT:
        raise InputError(f"{path} holds something else than accuracies; choose another name for the results")
    return about, named


# In files before facts had a place of their own: how a protocol without a fact said so.
_ABSENT: Mapping[str, Any] = {
    **{"shot": 0, "episodes": 0, "episodes_seed": 0, "query_asked": None, "k": None, "k_asked": None},
    **{"temperature": None, "head": "", "bank": "", "selection": "none", "chosen": {}, "setting": ""},
}


def _with_facts(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row as it is written now, from one of an older file, where facts of all protocols stand among the fields.

    >>> _with_facts({"protocol": "knn", "way": 10, "shot": 0, "k": 20, "temperature": None})
    {'protocol': 'knn', 'facts': {'way': 10, 'k': 20}}
    """
    if "facts" in item:
        return item
    absent = {
        name for name, value in _ABSENT.items() if item.get(name) == value and type(item.get(name)) is type(value)
    }
    facts = {name: item[name] for name in FACTS if name in item and name not in absent}
    return {**{name: value for name, value in item.items() if name not in FACTS}, "facts": facts}


def _row(item: Any, where: str) -> Row:
    if not isinstance(item, dict):
        raise InputError(f"{where}: must be an object, got {type(item).__name__}")
    item = _with_facts(item)
    types = get_type_hints(Row)
    required = {f.name for f in dataclasses.fields(Row) if f.default is f.default_factory is dataclasses.MISSING}
    if missing := sorted(required - set(item)):
        raise InputError(f"{where}: {', '.join(missing)} missing; run `metatc2 transfer` again")
    for name, value in item.items():
        if name not in types:
            raise InputError(f"{where}: unknown field {name!r}; {nearest(name, types)}")
        if name == "facts":
            continue
        _check(name, value, (dict if get_origin(types[name]) is Mapping else types[name],), where)
    if not isinstance(item["facts"], dict):
        raise InputError(f"{where}: facts must be dict, got {_short(item['facts'])}")
    for name, value in item["facts"].items():
        _check(name, value, (FACTS[name],) if name in FACTS else (str, int, float, bool, dict), where)
    try:
        return Row(**item)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _check(name: str, value: Any, kinds: tuple[type, ...], where: str) -> None:
    """Refuse a value of another type, or a number that was not measured."""
    # JSON writes 1.0 as it likes, and Python's bool is an int.
    fits = isinstance(value, kinds) or (float in kinds and isinstance(value, int))
    if not fits or (isinstance(value, bool) and bool not in kinds):
        raise InputError(f"{where}: {name} must be {' or '.join(kind.__name__ for kind in kinds)}, got {_short(value)}")
    for number in value.values() if isinstance(value, dict) else (value,):
        if isinstance(value, dict) and (not isinstance(number, int | float) or isinstance(number, bool)):
            raise InputError(f"{where}: {name} must be a table of numbers, got {_short(number)} in it")
        # `isfinite` of a whole number that is no float would overflow.
        if isinstance(number, int) and abs(number) >= _LARGEST:
            raise InputError(f"{where}: {name} is too large a number; delete the file and run `metatc2 transfer` again")
        if isinstance(number, float) and not math.isfinite(number) and name not in ("mean", "ci95"):
            raise InputError(f"{where}: {name} must be finite, got {number}")


def _short(value: Any) -> str:
    try:
        words = repr(value)
    except (ValueError, RecursionError):  # of thousands of digits, or nested as deep
        return f"a {type(value).__name__}"
    return words if len(words) < 100 else words[:100] + "..."

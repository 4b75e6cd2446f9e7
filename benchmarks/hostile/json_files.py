"""JSON: results of transfer, of fusion, of a diagnosis, records of training."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from hostile.changes import changed, values
from hostile.kind import Kind, Prepared, Reader
from metatc2.experiment.monitor import read_monitor
from metatc2.experiment.results_folder import read_identity
from metatc2.io.reading import parse_json
from metatc2.report.conflict_file import read_conflict
from metatc2.report.factor_file import read_known_factors
from metatc2.report.fusion_file import read_fusion
from metatc2.report.html.sections import fusion
from metatc2.training.metrics_file import cut_metrics, read_metrics
from metatc2.transfer import read_results

_RESULTS = [
    {
        "protocol": "few-shot",
        "source": "digits:all",
        "target": "digits",
        "split": "all",
        "mean": 0.5,
        "ci95": 0.1,
        "seed": 0,
        "encoder_sha256": "c" * 64,
        "compute": {"steps": 3.0, "seconds": 1.5},
        "note": "",
        "facts": {"way": 5, "shot": 1, "episodes": 10, "head": "cosine", "chosen": {"l2": 0.1}},
    },
]
_FUSION = {
    "rows": [
        {
            "target": "digits:all",
            "method": method,
            "kind": kind,
            "setting": "as given",
            "labels_per_class": 5,
            "mean": 0.55,
            "ci95": 0.1,
            "accuracies": [0.5, 0.6],
            "encoders": ["a", "b"],
            "weights": [0.5, 0.5],
            "classes": ["0", "1"],
            "weights_by_class": [[0.5, 0.5], [0.4, 0.6]],
        }
        for method, kind in (("static", "attention"), ("sur", "baseline"))
    ],
    "differences": [],
    "notes": ["a note"],
}
_DIAGNOSIS = {
    "conflict": [{"name": "a", "value": 0.1, "null_mean": 0.0, "null_low": -0.1, "null_high": 0.1}],
    "agreement": {"ratio": {"all": {"value": 0.1, "null_mean": 0.0, "null_low": -0.1, "null_high": 0.1}}},
    "known_factors": {
        "features": {"factors": {"hue": {"value": 0.5, "selectivity": 0.4}}, "mean": 0.5, "mean_selectivity": 0.4}
    },
}


def _of(name: str, valid: Any, read: Callable[[Path], object]) -> Callable[[Path], Prepared]:
    """A file whose text is changed."""
    return lambda folder: (changed([json.dumps(valid).encode()]), _reader(folder / name, read))


def _odd(name: str, valid: Any, read: Callable[[Path], object]) -> Callable[[Path], Prepared]:
    """A file in which one value is another."""
    other = st.tuples(st.sampled_from(list(_paths(valid))), values(4))
    return lambda folder: (
        other.map(lambda pair: json.dumps(_with(valid, *pair)).encode()),
        _reader(folder / name, read),
    )


def _reader(file: Path, read: Callable[[Path], object]) -> Reader:
    def again(content: bytes) -> object:
        file.write_bytes(content)
        return read(file)

    return again


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(result for key, item in inner for result in _paths(item, (*path, key)))]


def _with(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    if isinstance(value, dict):
        return {key: _with(item, path[1:], new) if key == path[0] else item for key, item in value.items()}
    return [_with(item, path[1:], new) if i == path[0] else item for i, item in enumerate(value)]


def _lines(*records: Any) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def _metrics(folder: Path) -> Prepared:
    file = folder / "metrics.jsonl"
    valid = _lines(*({"step": i, "loss": 1.5, "lr": 0.1, "alarms": {"collapse": "so"}} for i in range(1, 4)))

    def read(content: bytes) -> object:
        file.write_bytes(content)
        kept = cut_metrics(file, 2)
        if read_metrics(file) != kept and not any(value != value for record in kept for value in record.values()):
            raise AssertionError("cut records are read otherwise")
        return kept

    return changed([valid]), read


def _monitor(folder: Path) -> Prepared:
    file = folder / "monitor.jsonl"
    record = {"step": 1, "epoch": 1.0, "split": "all", "images": 8, "rate_reduction": {"a": 1.0}, "knn": {"a": 0.5}}

    def read(content: bytes) -> object:
        file.write_bytes(content)
        return read_monitor(folder)

    return changed([_lines(record, {**record, "step": 2})]), read


def _diagnosis(file: Path) -> object:
    return read_conflict(file.parent), read_known_factors(file.parent)


def _fusion(file: Path) -> object:
    return [cell for section in fusion(read_fusion(file)) for table in section.tables for cell in table.rows]


_IDENTITY = {"name": "a", "sha256": "b" * 64, "source": "digits", "seed": 0}

KINDS = (
    Kind(
        "JSON",
        "any JSON text, parsed",
        4000,
        lambda folder: (
            changed([json.dumps(valid).encode() for valid in (_RESULTS, _FUSION, _DIAGNOSIS)]),
            lambda content: parse_json(content, "x.json"),
        ),
    ),
    Kind("results", "transfer.json, its text changed", 800, _of("transfer.json", _RESULTS, read_results)),
    Kind("odd results", "transfer.json, a value replaced", 50, _odd("transfer.json", _RESULTS, read_results)),
    Kind("fusion", "a result of metatc2 fuse, as a report shows it", 60, _of("fusion.json", _FUSION, _fusion)),
    Kind("odd fusion", "the same, a value replaced", 20, _odd("fusion.json", _FUSION, _fusion)),
    Kind("diagnosis", "diagnose.json", 500, _of("diagnose.json", _DIAGNOSIS, _diagnosis)),
    Kind("odd diagnosis", "the same, a value replaced", 40, _odd("diagnose.json", _DIAGNOSIS, _diagnosis)),
    Kind(
        "identity",
        "encoder.json of results",
        400,
        _of("encoder.json", _IDENTITY, lambda file: read_identity(file.parent)),
    ),
    Kind("metrics", "metrics.jsonl, read and cut", 120, _metrics),
    Kind("monitor", "monitor.jsonl", 500, _monitor),
)

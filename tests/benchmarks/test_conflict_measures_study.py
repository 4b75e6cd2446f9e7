"""What the study of conflict measures, and how it is shown: parts of `benchmarks/studies/conflict_measures.py`."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

STUDIES = Path(__file__).resolve().parents[2] / "benchmarks" / "studies"


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(STUDIES)
    import conflict_measures

    return conflict_measures


def row(seed: int, value: float, *, outside: bool, ratio: bool = True) -> dict[str, Any]:
    figure = {"value": value, "null": 0.5, "low": 0.0, "high": 1.0, "outside": outside, "p": 0.05}
    figures = {"ratio": figure if ratio else None, "difference": figure, "cosine": figure}
    return {"level": "one-more", "arm": "one head", "width": 32, "seed": seed, "signal": 0.1, **figures}


def test_a_row_shows_means_nulls_and_how_many_are_outside(study: Any) -> None:
    shown = study.table([row(0, 1.0, outside=True), row(1, 2.0, outside=False, ratio=False)]).splitlines()
    assert shown[-1] == "| one-more | one head | 32 | 10.0 | 150.0 (50.0) 1/2 | 1.00 (0.50) 1/1 | 1.50 (0.50) 1/2 | 2 |"


@pytest.mark.slow
def test_a_cell_is_measured_kept_and_gone_on_from(study: Any, tmp_path: Path) -> None:
    """From training to the row, small; and a second machine takes the row from what is committed."""
    from cells import Cell, identity
    from kept import restore, row_file

    point = study.Point("contradiction", "one head", 8, 0)
    own = point.cell(tmp_path / "runs")
    cell = Cell(own.path, own.task, (*own.settings, "trainer.steps=2", "data.image_size=16"), ())
    study.measure(cell, row_file(cell), batch=32, episodes=1)
    found = json.loads(row_file(cell).read_text())
    assert (found["batch"], found["episodes"]) == (32, 1)
    assert found["difference"]["low"] <= found["difference"]["null"] <= found["difference"]["high"]
    assert len(found["kinds"]) == 4
    assert [len(line) for line in found["gains"]] == [4] * 4
    assert study.gather(tmp_path / "runs") == []  # of another number of steps

    results = study.RESULTS.at(tmp_path / "results.csv")
    committed = {"level": "contradiction", "arm": "one head", "width": 8, "seed": 0, "batch": study.BATCH}
    committed |= {"episodes": study.EPISODES, "identity": identity(own.config), "signal": 0.25}
    results.write([committed, {**committed, "seed": 1}])
    restore(results, tmp_path / "other", lambda r: study.cell_of(r, tmp_path / "other"))
    (only,) = study.gather(tmp_path / "other")  # seed 1 has another identity
    assert (only["seed"], only["signal"]) == (0, 0.25)

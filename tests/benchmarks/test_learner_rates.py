"""How rates of learners on labeled tasks are chosen: `learner_rates.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from metatc2.learners import LEARNERS

STUDIES = Path(__file__).resolve().parents[2] / "benchmarks" / "studies"


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(STUDIES)
    import learner_rates

    return learner_rates


def row(learner: str, lr: float, inner_lr: float | None, accuracy: float) -> dict[str, Any]:
    return {"learner": learner, "lr": lr, "inner_lr": inner_lr, "accuracy": accuracy}


def test_every_pair_of_rates_is_tried_once(study: Any, tmp_path: Path) -> None:
    cells = study.cells(list(LEARNERS), 100, 30, tmp_path)
    assert len({cell.kept for cell in cells}) == len(cells)
    by_learner = {name: [cell for cell in cells if cell.learner == name] for name in LEARNERS}
    assert len(by_learner["maml"]) == len(study.OUTER) * len(study.INNER)
    assert [cell.inner_lr for cell in by_learner["protonet"]] == [None] * len(study.OUTER)
    assert {name for name in LEARNERS if not study.has_inner_rate(name)} == {
        "linear-probe",
        "logistic",
        "matching-net",
        "protonet",
        "r2d2",
    }


def test_rates_at_the_edge_are_gone_beyond(study: Any) -> None:
    grid = [row("maml", lr, inner, 0.5) for lr in (1.0, 2.0, 4.0) for inner in (0.1, 0.2, 0.4)]
    inside = [*grid, row("maml", 2.0, 0.2, 0.9)]
    assert study.beyond(inside) == []
    assert study.beyond([*grid, row("maml", 4.0, 0.2, 0.9)]) == [("maml", 16.0, 0.2)]
    assert study.beyond([*grid, row("maml", 1.0, 0.4, 0.9)]) == [("maml", 0.25, 0.4), ("maml", 1.0, 1.6)]
    assert study.beyond([row("r2d2", 1.0, None, 0.5), row("r2d2", 4.0, None, 0.9)]) == [("r2d2", 16.0, None)]


def test_the_best_on_validation_is_trained_with(study: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row("maml", 0.5, 0.1, 0.6), row("maml", 2.0, 0.4, 0.9), row("r2d2", 0.25, None, 0.7)]
    monkeypatch.setattr(study, "RESULTS", type("Rows", (), {"read": staticmethod(lambda: rows)}))
    assert study.chosen("maml") == ["trainer.lr=2.0", "learner.inner_lr=0.4"]
    assert study.chosen("r2d2") == ["trainer.lr=0.25"]
    assert "| maml | 2 | 0.4 | 90.0 | 60.0 | 2 |" in study.table(rows)

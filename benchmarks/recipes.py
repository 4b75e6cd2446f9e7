"""A recipe for each objective: a small grid, searched with the plain arm on held-out Latin letters, never on a target.

python benchmarks/recipes.py --json benchmarks/results/recipes.json

The plain objective alone is searched; every other arm of the evidence takes what serves the plain one best.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path

from cells import Cell, Judged, make, mean_over, rows_of
from common import positive, write

RESULTS = Path(__file__).resolve().parent / "results" / "recipes.json"
TARGET = "glyphs:meta-validation"
JUDGED = (Judged((TARGET,), (20,)),)
# Held-out Latin letters never come with ink and paper swapped, nor do the targets.
VIEWS = "views.invert=0.0"
GRID: dict[str, tuple[tuple[str, ...], ...]] = {
    "simclr": (
        (
            "objective.temperature=0.1",
            "objective.temperature=0.2",
            "objective.temperature=0.5",
        ),
        ("trainer.lr=0.002", "trainer.lr=0.004", "trainer.lr=0.008"),
    ),
    "moco": (
        ("objective.temperature=0.1", "objective.temperature=0.2"),
        ("objective.momentum=0.95", "objective.momentum=0.98", "objective.momentum=0.99"),
    ),
    "byol": (
        ("objective.momentum=0.9", "objective.momentum=0.95", "objective.momentum=0.98"),
        ("head.predictor_hidden=128", "head.predictor_hidden=512"),
    ),
    "simsiam": (
        # The paper's optimizer is searched as well.
        (
            "trainer.lr=0.002",
            "trainer.lr=0.005",
            "trainer.lr=0.01",
            "trainer.optimizer=sgd trainer.lr=0.05",
            "trainer.optimizer=sgd trainer.lr=0.2",
        ),
        ("head.predictor_hidden=64", "head.predictor_hidden=512"),
    ),
    "barlow": (
        (
            "objective.weight=0.005",
            "objective.weight=0.02",
            "objective.weight=0.08",
            "objective.weight=0.3",
            "objective.weight=1",
        ),
        ("trainer.lr=0.002", "trainer.lr=0.004", "trainer.lr=0.008"),
    ),
    "vicreg": (
        (
            "objective.covariance=1",
            "objective.covariance=4",
            "objective.covariance=16",
            "objective.covariance=64",
            "objective.covariance=256",
        ),
        ("trainer.lr=0.002", "trainer.lr=0.004", "trainer.lr=0.008"),
    ),
}


def best(path: Path = RESULTS) -> dict[str, tuple[str, ...]]:
    """The settings that were best for each objective, from the committed search."""
    rows = json.loads(path.read_text())["rows"]
    chosen = {}
    for objective in GRID:
        own = [row for row in rows if row["objective"] == objective]
        chosen[objective] = (VIEWS, *max(own, key=lambda row: row["mean"])["settings"])
    return chosen


def cell(folder: Path, objective: str, settings: tuple[str, ...], seed: int) -> Cell:
    """One run of the search."""
    short = "-".join(word.rpartition("=")[2] for word in settings)
    named = (f"objective.name={objective}", "calibration.name=none", f"trainer.seed={seed}", VIEWS)
    return Cell(folder / f"{objective}-{short}-s{seed}", "glyphs", (*named, *settings), JUDGED)


def main() -> None:
    """Search, and write one row a setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/recipes"))
    parser.add_argument("--seeds", type=positive, default=1)
    parser.add_argument("--workers", type=positive, default=2)
    parser.add_argument("--json", type=Path, default=RESULTS)
    given = parser.parse_args()
    points = [(o, tuple(" ".join(s).split())) for o, axes in GRID.items() for s in itertools.product(*axes)]
    cells = {(o, s, i): cell(given.runs, o, s, i) for i in range(given.seeds) for o, s in points}
    make(cells.values(), workers=given.workers)
    rows = []
    for objective, settings in points:
        own = [c for i in range(given.seeds) if (c := cells[objective, settings, i]).done]
        values = [mean_over(rows_of(c), [TARGET], 20, 1) for c in own]
        if values:
            mean = sum(values) / len(values)
            rows.append(
                {"objective": objective, "settings": settings, "mean": mean, "per_seed": values, "target": TARGET}
            )
    write(given.json, rows)


if __name__ == "__main__":
    main()

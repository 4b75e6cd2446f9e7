"""A recipe for each objective: a small grid, searched with the plain arm on held-out Latin letters, never on a target.

python benchmarks/studies/recipes.py

The plain objective alone is searched; every other arm of the evidence takes what serves the plain one best.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from arguments import study_parser
from cells import Cell, Evaluation, make, mean_over, rows_of
from csv_results import FOLDER, Results

RESULTS = Results(FOLDER / "recipes.csv", {"objective": str, "settings": str, "seed": int, "accuracy": float})
TARGET = "glyphs:meta-validation"
EVALUATIONS = (Evaluation((TARGET,), (20,)),)
# Held-out Latin letters never come with foreground and background swapped, nor do the targets.
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


def best(results: Results = RESULTS) -> dict[str, tuple[str, ...]]:
    """The settings that were best for each objective, from the committed search."""
    rows = results.read()
    return {objective: (VIEWS, *_best([r for r in rows if r["objective"] == objective]).split()) for objective in GRID}


def _best(rows: Sequence[Mapping[str, Any]]) -> str:
    """The settings with the highest mean over seeds; of equal ones the first."""
    tried = dict.fromkeys(str(r["settings"]) for r in rows)
    return max(tried, key=lambda settings: fmean(r["accuracy"] for r in rows if r["settings"] == settings))


def cell(folder: Path, objective: str, settings: tuple[str, ...], seed: int) -> Cell:
    """One run of the search."""
    short = "-".join(word.rpartition("=")[2] for word in settings)
    named = (f"objective.name={objective}", "calibration.name=none", f"trainer.seed={seed}", VIEWS)
    return Cell(folder / f"{objective}-{short}-s{seed}", "glyphs", (*named, *settings), EVALUATIONS)


def main() -> None:
    """Search, and write one row a setting and seed."""
    given = study_parser(__doc__, runs="runs/recipes", results=RESULTS, seeds=1).parse_args()
    points = [(o, tuple(" ".join(s).split())) for o, axes in GRID.items() for s in itertools.product(*axes)]
    cells = {(o, s, i): cell(given.runs, o, s, i) for i in range(given.seeds) for o, s in points}
    if not given.collect:
        make(cells.values(), workers=given.workers)
    rows = [
        {"objective": o, "settings": " ".join(s), "seed": i, "accuracy": mean_over(rows_of(one), [TARGET], 20, 1)}
        for (o, s, i), one in cells.items()
        if one.done
    ]
    RESULTS.at(given.results).write(rows)


if __name__ == "__main__":
    main()

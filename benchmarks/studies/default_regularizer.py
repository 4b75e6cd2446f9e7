"""Which regularizer helps where a user names no method: the shipped tasks as they are, few-shot on their own targets.

python benchmarks/studies/default_regularizer.py --seeds 3                      # resumes
python benchmarks/studies/default_regularizer.py --collect

The plain objective (SimCLR) on the tasks glyphs and shapes, Conv-4 of width 32, 300 steps of 128; regularizers at weights that
`conflict.py --part weights` and `photographs.py --part weights` found on their validation images. Nothing is searched here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from arguments import study_parser
from cells import Cell, Evaluation, make, rows_of
from csv_results import FOLDER, Results
from pairs import paired_by_seed, signed

ARMS: dict[str, tuple[str, ...]] = {
    "none": (),
    "isotropy, weight 0.03": ("regularizer.name=isotropy", "regularizer.weight=0.03"),
    "SIGReg, weight 0.03": ("regularizer.name=sigreg", "regularizer.weight=0.03"),
    "VISReg, weight 0.3": ("regularizer.name=visreg", "regularizer.weight=0.3"),
    "VISReg, weight 1": ("regularizer.name=visreg", "regularizer.weight=1"),
}
TARGETS = {
    "glyphs": (
        Evaluation(("glyphs:greek", "glyphs:cyrillic", "glyphs:georgian", "glyphs:armenian"), (20,), (1,)),
        Evaluation(("digits:all",), (5,), (1,)),
    ),
    "shapes": (Evaluation(("shapes:meta-test", "shapes:shape:test", "shapes:texture:test"), (5,), (1,)),),
}
RESULTS = Results(
    FOLDER / "default_regularizer.csv",
    {
        **dict.fromkeys(("task", "arm"), str),
        "seed": int,
        **{f"accuracy.{name}": float for parts in TARGETS.values() for part in parts for name in part.targets},
    },
)


def cell(folder: Path, task: str, arm: str, seed: int) -> Cell:
    """One run."""
    name = f"{task}-{arm.replace(', ', '-').replace(' ', '-')}-s{seed}"
    settings = ("calibration.name=none", "encoder.width=32", f"trainer.seed={seed}", *ARMS[arm])
    return Cell(folder / name, task, settings, TARGETS[task])


def gather(folder: Path) -> list[dict[str, Any]]:
    """Accuracy of all runs that are done, by target."""
    rows: list[dict[str, Any]] = []
    for task in TARGETS:
        for arm in ARMS:
            for seed in range(10):
                own = cell(folder, task, arm, seed)
                if own.done:
                    result = {row.target: row.mean for row in rows_of(own)}
                    rows.append({"task": task, "arm": arm, "seed": seed, "accuracy": result})
    return rows


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Mean over the targets of each task, and each arm less none."""
    lines = ["| regularizer | glyphs, mean of five targets | − none | shapes, mean of three targets | − none | seeds |"]
    lines.append("|---|---|---|---|---|---|")
    for arm in ARMS:
        cells, counts = [], []
        for task in TARGETS:
            own, none = (means(rows, task, name) for name in (arm, "none"))
            difference = None if arm == "none" else paired_by_seed(own, none)
            cells += [f"{100 * np.mean(list(own.values())):.1f}" if own else "–", signed(difference)]
            counts.append(len(own))
        lines.append(f"| {arm} | {' | '.join(cells)} | {'/'.join(map(str, counts))} |")
    return "\n".join(lines)


def means(rows: Sequence[Mapping[str, Any]], task: str, arm: str) -> dict[int, float]:
    """Mean accuracy over the targets of a task by seed."""
    own = [r for r in rows if (r["task"], r["arm"]) == (task, arm)]
    return {r["seed"]: float(np.mean(list(r["accuracy"].values()))) for r in own}


def main() -> None:
    """Make what is missing, gather all that is done."""
    given = study_parser(__doc__, runs="runs/default-regularizer", results=RESULTS, seeds=3).parse_args()
    if not given.collect:
        every = [cell(given.runs, task, arm, seed) for seed in range(given.seeds) for task in TARGETS for arm in ARMS]
        make(every, workers=given.workers)
    RESULTS.at(given.results).write(gather(given.runs))


if __name__ == "__main__":
    main()

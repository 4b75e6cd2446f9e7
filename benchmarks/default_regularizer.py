"""Which regularizer helps where a user names no method: the shipped tasks as they are, few-shot on their own targets.

python benchmarks/default_regularizer.py --seeds 3                      # resumes
python benchmarks/default_regularizer.py --collect

The plain objective (SimCLR) on the tasks glyphs and shapes, Conv-4 of width 32, 300 steps of 128; regularizers at weights that
`conflict.py --part weights` and `photographs.py --part weights` found on their validation images. Nothing is searched here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from cells import Cell, Judged, make, paired, rows_of, study_parser
from common import write
from evidence import signed

RESULTS = Path(__file__).resolve().parent / "results" / "default_regularizer.json"
ARMS: dict[str, tuple[str, ...]] = {
    "none": (),
    "isotropy, weight 0.03": ("regularizer.name=isotropy", "regularizer.weight=0.03"),
    "SIGReg, weight 0.03": ("regularizer.name=sigreg", "regularizer.weight=0.03"),
    "VISReg, weight 0.3": ("regularizer.name=visreg", "regularizer.weight=0.3"),
    "VISReg, weight 1": ("regularizer.name=visreg", "regularizer.weight=1"),
}
TARGETS = {
    "glyphs": (
        Judged(("glyphs:greek", "glyphs:cyrillic", "glyphs:georgian", "glyphs:armenian"), (20,), (1,)),
        Judged(("digits:all",), (5,), (1,)),
    ),
    "shapes": (Judged(("shapes:meta-test", "shapes:shape:test", "shapes:texture:test"), (5,), (1,)),),
}


def cell(folder: Path, task: str, arm: str, seed: int) -> Cell:
    """One run."""
    name = f"{task}-{arm.replace(', ', '-').replace(' ', '-')}-s{seed}"
    settings = ("calibration.name=none", "encoder.width=32", f"trainer.seed={seed}", *ARMS[arm])
    return Cell(folder / name, task, settings, TARGETS[task])


def gather(folder: Path) -> list[dict[str, Any]]:
    """Accuracy of all runs that are done, by target, and each arm less none."""
    rows: list[dict[str, Any]] = []
    for task in TARGETS:
        for arm in ARMS:
            for seed in range(10):
                own = cell(folder, task, arm, seed)
                if own.done:
                    found = {row.target: round(row.mean, 4) for row in rows_of(own)}
                    rows.append({"task": task, "arm": arm, "seed": seed, "accuracy": found})
    return rows


def differences(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each arm less none, over the seeds that both have: by target, and their mean."""
    found = []
    for task in TARGETS:
        sides = {arm: {r["seed"]: r["accuracy"] for r in rows if (r["task"], r["arm"]) == (task, arm)} for arm in ARMS}
        for arm in list(ARMS)[1:]:
            seeds = sorted(sides[arm].keys() & sides["none"].keys())
            if not seeds:
                continue
            gaps = {t: [sides[arm][s][t] - sides["none"][s][t] for s in seeds] for t in sides[arm][seeds[0]]}
            gaps["mean"] = [float(np.mean(values)) for values in zip(*gaps.values(), strict=True)]
            found += [{"task": task, "against": arm, "target": t, **paired(v, seeds)} for t, v in gaps.items()]
    return found


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Mean over the targets of each task, and each arm less none."""
    lines = ["| regularizer | glyphs, mean of five targets | − none | shapes, mean of three targets | − none | seeds |"]
    lines.append("|---|---|---|---|---|---|")
    for arm in ARMS:
        cells, counts = [], []
        for task in TARGETS:
            own = [np.mean(list(r["accuracy"].values())) for r in rows if (r.get("arm"), r["task"]) == (arm, task)]
            gap = [r for r in rows if (r.get("against"), r["task"], r.get("target")) == (arm, task, "mean")]
            cells += [f"{100 * np.mean(own):.1f}" if own else "–", signed(gap[0]) if gap else "–"]
            counts.append(len(own))
        lines.append(f"| {arm} | {' | '.join(cells)} | {'/'.join(map(str, counts))} |")
    return "\n".join(lines)


def main() -> None:
    """Make what is missing, gather all that is done."""
    given = study_parser(__doc__, runs="runs/default-regularizer", results=RESULTS, seeds=3).parse_args()
    if not given.collect:
        every = [cell(given.runs, task, arm, seed) for seed in range(given.seeds) for task in TARGETS for arm in ARMS]
        given.runs.mkdir(parents=True, exist_ok=True)
        make(every, workers=given.workers)
    rows = gather(given.runs)
    write(given.json, [*rows, *differences(rows)])


if __name__ == "__main__":
    main()

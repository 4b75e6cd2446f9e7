"""What an encoder that keeps more is worth where most of it is a nuisance: few-shot recognition after tasks that disagree.

python benchmarks/studies/conflict_few_shot.py --seeds 5 --runs runs/conflict      # cells of conflict.py, trained where missing
python benchmarks/studies/conflict_few_shot.py --collect --runs runs/conflict

Combinations of shape and texture that pre-training has not seen, 5-way, one and five shots, nearest class mean by cosine. All
tasks of the level one-more share shape and texture; hue, position, orientation and lighting are redrawn in every image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from arguments import study_parser
from cells import Cell, in_parallel
from conflict_points import RATES, WIDTH, Point
from conflict_rows import RESULTS as STUDY
from conflict_rows import searched
from csv_results import FOLDER, Results
from kept import measured, missing, restore, row
from pairs import paired_by_seed, signed
from torch import nn

from metatc2.data.sources.shapes.dataset import load_shapes
from metatc2.transfer import extract, few_shot, sample_episodes

ARMS = ("one head", "isotropy", "TC²", "VISReg, weight 1", "TC² + VISReg, weight 0.3", "a head a task")
SHOTS = (1, 5)
RESULTS = Results(
    FOLDER / "conflict_few_shot.csv",
    {"arm": str, "seed": int, "identity": str, **{f"accuracy.{shot}": float for shot in SHOTS}, "diverged": bool},
)


def accuracies(encoder: nn.Module) -> dict[str, float]:
    """By shots: accuracy over 600 episodes, the same for every encoder."""
    store = load_shapes(image_size=28)
    rows = store.rows("meta-test")
    features = extract(encoder, store.images[rows])
    result = {}
    for shot in SHOTS:
        generator = torch.Generator().manual_seed(shot)
        drawn = sample_episodes(store.labels[rows], way=5, shot=shot, query=10, episodes=600, generator=generator)
        result[str(shot)] = float(few_shot(features, drawn, "cosine").mean())
    return result


def measure(cell: Cell, path: Path) -> str:
    """Train a cell, or take it as it is; its row to `path`."""
    return measured(
        cell,
        path,
        lambda run: {"accuracy": accuracies(run.encoder)},
        lambda result: f"{100 * result['accuracy']['1']:.1f}",
    )


def points(seeds: int) -> list[Point]:
    """Arms and seeds at the learning rates that the study of conflict found."""
    rates = searched(STUDY.read())
    return [
        Point("one-more", "simclr", arm, WIDTH, seed, rates.get(arm, RATES[0])) for seed in range(seeds) for arm in ARMS
    ]


def row_file(cell: Cell) -> Path:
    """Beside the study's own row."""
    return cell.path.with_name(f"{cell.path.name}-few-shot.json")


def gather(folder: Path) -> list[dict[str, Any]]:
    """Rows of all cells that are done."""
    cells = {point: point.cell(folder) for point in points(10)}
    return [result for point, cell in cells.items() if (result := row(point, ("arm", "seed"), cell, row_file(cell)))]


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Accuracy in percent, and each arm less one head."""
    lines = ["| one-more | 1 shot | − one head | 5 shots | − one head | seeds |", "|---|---|---|---|---|---|"]
    by = {arm: {r["seed"]: r["accuracy"] for r in rows if r["arm"] == arm and "accuracy" in r} for arm in ARMS}
    for arm, own in by.items():
        if not own:
            continue
        shown = []
        for shot in map(str, SHOTS):
            values, plain = ({s: a[shot] for s, a in by[name].items()} for name in (arm, "one head"))
            difference = None if arm == "one head" else paired_by_seed(values, plain)
            shown += [f"{100 * np.mean(list(values.values())):.1f}", signed(difference)]
        lines.append(f"| {arm} | {' | '.join(shown)} | {len(own)} |")
    return "\n".join(lines)


def main() -> None:
    """Make what is missing, gather all that is done."""
    given = study_parser(__doc__, runs="runs/conflict", results=RESULTS, seeds=5).parse_args()
    results = RESULTS.at(given.results)
    known = {(point.arm, point.seed): point.cell(given.runs) for point in points(max(10, given.seeds))}
    restore(results, given.runs, lambda row: known.get((row["arm"], row["seed"])), row_file)
    if not given.collect:
        asked = [point.cell(given.runs) for point in points(given.seeds)]
        in_parallel(measure, missing(asked, row_file), workers=given.workers)
    results.write(gather(given.runs))


if __name__ == "__main__":
    main()

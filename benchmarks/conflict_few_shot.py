"""What an encoder that keeps more is worth where most of it is a nuisance: few-shot recognition after tasks that disagree.

python benchmarks/conflict_few_shot.py --seeds 5 --runs runs/conflict      # cells of conflict.py, trained where missing
python benchmarks/conflict_few_shot.py --collect --runs runs/conflict

Combinations of shape and texture that pre-training has not seen, 5-way, one and five shots, nearest class mean by cosine. All
tasks of the level one-more share shape and texture; hue, position, orientation and lighting are redrawn in every image.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cells import Cell, in_parallel, keep, kept, missing, paired, quiet, rounded, study_parser, trained_run
from common import write
from conflict import RATES, WIDTH, Point, searched
from conflict import RESULTS as STUDY
from evidence import signed
from torch import nn

from metatc2.data.sources.shapes.dataset import load_shapes
from metatc2.transfer import extract, few_shot, sample_episodes

RESULTS = Path(__file__).resolve().parent / "results" / "conflict_few_shot.json"
ARMS = ("one head", "isotropy", "TC²", "VISReg, weight 1", "TC² + VISReg, weight 0.3", "a head a task")
SHOTS = (1, 5)


def accuracies(encoder: nn.Module) -> dict[str, float]:
    """By shots: accuracy over 600 episodes, the same for every encoder."""
    store = load_shapes(image_size=28)
    rows = store.rows("meta-test")
    features = extract(encoder, store.images[rows])
    found = {}
    for shot in SHOTS:
        generator = torch.Generator().manual_seed(shot)
        drawn = sample_episodes(store.labels[rows], way=5, shot=shot, query=10, episodes=600, generator=generator)
        found[str(shot)] = float(few_shot(features, drawn, "cosine").mean())
    return found


def measure(cell: Cell, path: Path) -> str:
    """Train a cell, or take it as it is; its row to `path`."""
    quiet()
    found = accuracies(trained_run(cell).encoder)
    keep(cell, path, {"accuracy": found})
    return f"{100 * found['1']:.1f}"


def cells(folder: Path, seeds: int) -> dict[tuple[str, int], Cell]:
    """By arm and seed, at the learning rates that the study of conflict found."""
    rates = searched([row for row in json.loads(STUDY.read_text())["rows"] if "arm" in row])
    return {
        (arm, seed): Point("one-more", "simclr", arm, WIDTH, seed, rates.get(arm, RATES[0])).cell(folder)
        for seed in range(seeds)
        for arm in ARMS
    }


def row_file(cell: Cell) -> Path:
    """Beside the study's own row."""
    return cell.path.with_name(f"{cell.path.name}-few-shot.json")


def gather(folder: Path) -> list[dict[str, Any]]:
    """Rows of all cells that are done."""
    rows: list[dict[str, Any]] = []
    for (arm, seed), cell in cells(folder, 10).items():
        if (found := kept(cell, row_file)) is not None:
            rows.append({"arm": arm, "seed": seed, **rounded(found)})
    return rows


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Accuracy in percent, and each arm less one head."""
    lines = ["| one-more | 1 shot | − one head | 5 shots | − one head | seeds |", "|---|---|---|---|---|---|"]
    by = {arm: {r["seed"]: r["accuracy"] for r in rows if r["arm"] == arm} for arm in ARMS}
    for arm, own in by.items():
        if not own:
            continue
        shown = []
        for shot in map(str, SHOTS):
            seeds = sorted(own.keys() & by["one head"].keys())
            gaps = [own[s][shot] - by["one head"][s][shot] for s in seeds]
            shown += [f"{100 * np.mean([a[shot] for a in own.values()]):.1f}"]
            shown += ["–" if arm == "one head" or not seeds else signed(paired(gaps, seeds))]
        lines.append(f"| {arm} | {' | '.join(shown)} | {len(own)} |")
    return "\n".join(lines)


def main() -> None:
    """Make what is missing, gather all that is done."""
    given = study_parser(__doc__, runs="runs/conflict", results=RESULTS, seeds=5).parse_args()
    if not given.collect:
        given.runs.mkdir(parents=True, exist_ok=True)
        in_parallel(measure, missing(cells(given.runs, given.seeds).values(), row_file), workers=given.workers)
    write(given.json, gather(given.runs))


if __name__ == "__main__":
    main()

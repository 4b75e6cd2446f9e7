"""Rates of every learner on labeled tasks, chosen on Latin letters that were not trained on.

    python benchmarks/studies/learner_rates.py --workers 1           # resumes

Each learner of `glyphs_fewshot.py` is trained as there, with one seed of its own, at every rate of the outer loop and, where an
inner loop has one, at every rate of it; where the best pair has the largest or smallest rate that was tried, four times or a
quarter of it is tried too, until it has not. The pair whose accuracy is highest on episodes of glyphs:meta-validation, the mean
of the settings that the learner is tested at, is what `glyphs_fewshot.py` trains with. No test script is looked at.
"""

from __future__ import annotations

import json
import multiprocessing
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from arguments import choices, study_parser
from csv_results import FOLDER, Results
from learner_settings import config
from shared import positive

from metatc2.data import load
from metatc2.experiment import run as runs
from metatc2.io.files import write_atomically
from metatc2.learners import LEARNERS
from metatc2.learners.options import InnerOptions
from metatc2.learners.registry import learner_options
from metatc2.training.outer_step import TrainingDiverged
from metatc2.transfer import ADAPTED, FewShot, evaluate, expand_targets

SEED = 100  # of no run that is tested
OUTER = (0.0005, 0.002, 0.008)
INNER = (0.0125, 0.05, 0.2, 0.8)
RESULTS = Results(
    FOLDER / "learner_rates.csv",
    {"learner": str, **dict.fromkeys(("steps", "seed"), int), **dict.fromkeys(("lr", "inner_lr", "accuracy"), float)},
)


class Cell(NamedTuple):
    """A training of the search."""

    learner: str
    lr: float
    inner_lr: float | None
    steps: int
    episodes: int
    folder: str

    @property
    def kept(self) -> Path:
        """Where its row is kept."""
        inner = "" if self.inner_lr is None else f"-{self.inner_lr:g}"
        return Path(self.folder) / f"{self.learner}-{self.lr:g}{inner}-{self.steps}.json"


def has_inner_rate(learner: str) -> bool:
    """Whether it has an inner loop whose rate is to be chosen; those of convex heads follow from their penalty."""
    return issubclass(learner_options(learner), InnerOptions)


def cells(learners: Sequence[str], steps: int, episodes: int, folder: Path) -> list[Cell]:
    """Every training."""
    return [
        Cell(learner, lr, inner, steps, episodes, str(folder))
        for learner in learners
        for lr in OUTER
        for inner in (INNER if has_inner_rate(learner) else (None,))
    ]


def beyond(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, float, float | None]]:
    """Learner and pair of rates next to the best one where that has the largest or smallest rate of those tried.

    >>> tried = [{"learner": "a", "lr": lr, "accuracy": lr} for lr in (0.5, 2.0)]
    >>> beyond(tried)
    [('a', 8.0, None)]
    """
    further = []
    for learner, row in best(rows).items():
        own = [each for each in rows if each["learner"] == learner]
        for key in ("lr", "inner_lr"):
            rate = row.get(key)
            if rate is None:
                continue
            tried = [each[key] for each in own]
            next_to = {key: rate * 4} if rate == max(tried) else {key: rate / 4} if rate == min(tried) else None
            if next_to is not None:
                pair = {"lr": row["lr"], "inner_lr": row.get("inner_lr"), **next_to}
                further.append((learner, pair["lr"], pair["inner_lr"]))
    return further


def rates(lr: float, inner_lr: float | None) -> list[str]:
    """The keys that they are."""
    return [f"trainer.lr={lr!r}", *([] if inner_lr is None else [f"learner.inner_lr={inner_lr!r}"])]


def measure(cell: Cell) -> None:
    """Train at one pair of rates and measure on meta-validation; a training that diverges has the accuracy 0."""
    torch.set_num_threads(1)
    if cell.kept.exists():
        return
    settings = config(cell.learner, SEED, cell.steps, rates(cell.lr, cell.inner_lr))
    facts = {"learner": cell.learner, "steps": cell.steps, "seed": SEED, "lr": cell.lr, "inner_lr": cell.inner_lr}
    try:
        made = runs.pretrain(settings, cell.kept.with_suffix("")).learner
    except TrainingDiverged:
        row = {**facts, "accuracy": 0.0}
    else:
        assert made is not None
        ways = (5,) if cell.learner == "boil" else (5, 20)
        targets = expand_targets(load("glyphs", image_size=28), "meta-validation")
        protocols = [FewShot(ways=ways, query=5, episodes=cell.episodes, heads=("euclidean",))]
        named = {ADAPTED: made.eval()}
        rows, _ = evaluate({}, targets, seed=SEED, source="glyphs:meta-train", protocols=protocols, learners=named)
        row = {**facts, "accuracy": statistics.fmean(r.mean for r in rows if r.features == ADAPTED)}
    write_atomically(cell.kept, json.dumps(row).encode())
    print(json.dumps(row), flush=True)


def best(rows: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The row with the highest accuracy, for each learner."""
    by_learner = {row["learner"]: [r for r in rows if r["learner"] == row["learner"]] for row in rows}
    return {learner: max(own, key=lambda row: row["accuracy"]) for learner, own in by_learner.items()}


def chosen(learner: str) -> list[str]:
    """The keys with the rates of a learner that the committed search chose."""
    row = best(RESULTS.read())[learner]
    return rates(row["lr"], row.get("inner_lr"))


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """What was chosen, and how far the worst pair of the grid is below it."""
    lines = [
        "| learner | outer rate | inner rate | meta-validation, % | worst of the grid, % | pairs |",
        "|---|---|---|---|---|---|",
    ]
    for learner, row in best(rows).items():
        own = [100 * r["accuracy"] for r in rows if r["learner"] == learner]
        inner = f"{row['inner_lr']:g}" if row.get("inner_lr") is not None else "–"
        lines.append(f"| {learner} | {row['lr']:g} | {inner} | {max(own):.1f} | {min(own):.1f} | {len(own)} |")
    return "\n".join(lines)


def main() -> None:
    """Train at every pair of rates and write the rows."""
    parser = study_parser(__doc__, runs="runs/learner_rates", results=RESULTS, seeds=1)
    parser.add_argument("--steps", type=positive, default=100)
    parser.add_argument("--episodes", type=positive, default=30, help="of meta-validation, for each setting")
    choices(parser, "--learners", LEARNERS)
    given = parser.parse_args()
    every = cells(given.learners, given.steps, given.episodes, given.runs)
    asked = every
    with multiprocessing.get_context("spawn").Pool(given.workers) as pool:
        while asked:
            if not given.collect:
                pool.map(measure, asked, chunksize=1)
            rows = [json.loads(cell.kept.read_text()) for cell in every if cell.kept.exists()]
            asked = [Cell(*pair, given.steps, given.episodes, str(given.runs)) for pair in beyond(rows)]
            asked = [cell for cell in asked if cell not in every and (cell.kept.exists() or not given.collect)]
            every += asked
    RESULTS.at(given.results).write(sorted(rows, key=lambda row: list(LEARNERS).index(row["learner"])))


if __name__ == "__main__":
    main()

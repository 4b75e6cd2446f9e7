"""Heads that are told how views were made: do features tell more of it, what does that win, and what does it cost?

python benchmarks/studies/conditioning.py --data FOLDER --seeds 3        # resumes
python benchmarks/studies/conditioning.py --collect

FOLDER is that of `photographs.py`, whose data, targets and plain recipe (learning rate, temperature) are used: SimCLR on
CIFAR-10's training images, Conv-4 of width 32, 500 steps of 128, views that are turned by up to 30 degrees besides. The
learning rate was searched for the plain arm alone. Then ridge regression tells the descriptors of CIFAR-10's views from
frozen features: R² of each part, from one view and from two. Three of the targets need what views throw away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from arguments import study_parser
from cells import Cell, in_parallel
from csv_results import FOLDER, Results
from kept import measured, missing, restore, row
from pairs import paired_by_seed, signed
from photographs import transferred
from photographs_data import prepare
from photographs_points import GROUPS, SIZE, TARGETS, WIDTHS

from metatc2.data import load
from metatc2.experiment.run import Run
from metatc2.transfer import Augmentation, FeatureTable, Target
from metatc2.transfer.protocols.base import Subject

PARTS = ("crop", "rotation", "color", "flip", "grayscale", "blur")
SEEN = {"one view": "one", "two views": "two"}
SHUFFLED = "shuffled"


def _drawn() -> str:
    # Named, for a study must not follow a default that moves.
    parts = ("blur", "color", "crop", "flip", "grayscale", "invert", "rotation", "shear", "solarize")
    return f"condition.parts={list(parts)}"


ARMS: dict[str, tuple[str, ...]] = {
    "none": (),
    "concatenate": ("condition.name=concatenate", _drawn()),
    "random descriptors": ("condition.name=concatenate", "condition.descriptors=random", _drawn()),
    "concatenate, start at zero": ("condition.name=concatenate", "condition.zero_start=true", _drawn()),
    "AugSelf": ("auxiliary.name=augself",),
    "FiLM": ("condition.name=film", _drawn()),
    "hypernetwork": ("condition.name=hypernetwork", _drawn()),
}
RECIPE = ("trainer.lr=0.004", "objective.temperature=0.2")
RESULTS = Results(
    FOLDER / "conditioning.csv",
    {
        "arm": str,
        "seed": int,
        "identity": str,
        "diverged": bool,
        "seconds": float,
        **{f"r2.{seen}.{part}": float for seen in SEEN.values() for part in (*PARTS, SHUFFLED)},
        **{f"accuracy.{target}": float for target in (*TARGETS, "held-out")},
    },
)
AT = ("arm", "seed")


@dataclass(frozen=True)
class Point:
    """Where in the study a cell stands."""

    arm: str
    seed: int

    def cell(self, folder: Path, data: Path) -> Cell:
        """Its run."""
        settings = (
            f"data.source=npz:{data / 'learn.npz'}",
            "data.split=train",
            f"data.image_size={SIZE}",
            "encoder.name=conv4",
            f"encoder.width={WIDTHS['conv4']}",
            "episode.batch=128",
            "episode.tasks=4",
            "views.rotation=30",  # beside the recipe's own, so that there is an orientation to be told
            "trainer.steps=500",
            "trainer.optimizer=adamw",
            "trainer.weight_decay=1e-4",
            "trainer.checkpoint_every=250",
            "calibration.name=none",
            *RECIPE,
            f"trainer.seed={self.seed}",
            *ARMS[self.arm],
        )
        return Cell(folder / f"{self.arm.replace(', ', '-').replace(' ', '-')}-s{self.seed}", "cifar10", settings, ())


def measure(cell: Cell, path: Path) -> str:
    """Train a cell, probe its views and transfer it; its row to `path`."""
    data = Path(cell.config.data.source.removeprefix("npz:")).parent

    def both(run: Run) -> Mapping[str, Any]:
        return {"r2": told(run, data), "accuracy": transferred(run.encoder, data)}

    return measured(cell, path, both, lambda result: f"R² of color from one view {result['r2']['one']['color']:.2f}")


def told(run: Run, data: Path) -> dict[str, dict[str, float]]:
    """R² of each part of the descriptor, from one view and from two."""
    store = load(f"npz:{data / 'cifar10.npz'}")
    subject = Subject(Target(store, "all", "cifar10"), FeatureTable(store, {"encoder": run.encoder}))
    result: dict[str, dict[str, float]] = {short: {} for short in SEEN.values()}
    for one in Augmentation(probe="ridge", images=3000).run(subject):
        seen, part, *rest = one.facts["setting"].split(", ")
        result[SEEN[seen]][SHUFFLED if rest else part] = float(one.values.mean())
    return {short: {part: values[part] for part in (*PARTS, SHUFFLED)} for short, values in result.items()}


def points(seeds: int) -> list[Point]:
    """Seed by seed."""
    return [Point(arm, seed) for seed in range(seeds) for arm in ARMS]


def gather(folder: Path, data: Path) -> list[dict[str, Any]]:
    """Rows of all cells that are done."""
    return [result for point in points(10) if (result := row(point, AT, point.cell(folder, data)))]


def r2_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """R² by arm, in hundredths; below it the differences to the plain arm and to random descriptors over paired seeds."""
    columns = [(seen, part) for seen in SEEN.values() for part in ("crop", "rotation", "color", SHUFFLED)]
    lines = [
        "| R² · 100 | "
        + " | ".join(f"{part}, {seen} view{'s' * (seen == 'two')}" for seen, part in columns)
        + " | seeds |",
        "|---|" + "---|" * (len(columns) + 1),
    ]
    by = {arm: {r["seed"]: r for r in rows if r["arm"] == arm and "r2" in r} for arm in ARMS}
    for arm, own in by.items():
        if own:
            cells = [f"{100 * np.mean([r['r2'][seen][part] for r in own.values()]):.1f}" for seen, part in columns]
            lines.append(f"| {arm} | {' | '.join(cells)} | {len(own)} |")
    for arm, other in (
        ("concatenate", "none"),
        ("concatenate", "random descriptors"),
        ("AugSelf", "none"),
        ("FiLM", "none"),
        ("concatenate, start at zero", "none"),
        ("concatenate, start at zero", "random descriptors"),
    ):
        if by[arm] and by[other]:
            cells = [
                signed(
                    paired_by_seed(*({s: r["r2"][seen][part] for s, r in by[side].items()} for side in (arm, other)))
                )
                for seen, part in columns
            ]
            lines.append(f"| {arm} − {other} | {' | '.join(cells)} | {len(by[arm].keys() & by[other].keys())} |")
    return "\n".join(lines)


def transfer_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Accuracy of the plain arm, and what each other arm adds, in points over paired seeds."""
    columns = (*((target,) for target in TARGETS), *GROUPS.values())
    names = (*TARGETS, *GROUPS)
    lines = [f"| points | {' | '.join(names)} | seeds |", "|---|" + "---|" * (len(names) + 1)]
    by = {arm: {r["seed"]: r for r in rows if r["arm"] == arm and "accuracy" in r} for arm in ARMS}

    def values(arm: str, targets: tuple[str, ...]) -> dict[int, float]:
        return {s: float(np.mean([r["accuracy"][t] for t in targets])) for s, r in by[arm].items()}

    if by["none"]:
        cells = [f"{100 * np.mean(list(values('none', targets).values())):.1f}" for targets in columns]
        lines.append(f"| none | {' | '.join(cells)} | {len(by['none'])} |")
    for arm, own in by.items():
        if own and arm != "none":
            cells = [signed(paired_by_seed(values(arm, targets), values("none", targets))) for targets in columns]
            lines.append(f"| {arm} − none | {' | '.join(cells)} | {len(own)} |")
    return "\n".join(lines)


def main() -> None:
    """Make the cells that are asked for, gather all that are done."""
    parser = study_parser(__doc__, runs="runs/conditioning", results=RESULTS, seeds=3)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of cifar10, caltech101 and pacs")
    given = parser.parse_args()
    results, made = RESULTS.at(given.results), (given.runs / "archives").resolve()
    restore(
        results,
        given.runs,
        lambda r: Point(*(r[key] for key in AT)).cell(given.runs, made) if r["arm"] in ARMS else None,
    )
    if not given.collect:
        prepare(given.data, made)
        in_parallel(
            measure, missing(point.cell(given.runs, made) for point in points(given.seeds)), workers=given.workers
        )
    results.write(gather(given.runs, made))


if __name__ == "__main__":
    main()

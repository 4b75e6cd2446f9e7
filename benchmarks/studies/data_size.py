"""What pre-training wins by the number of its images: few-shot on new classes, less raw pixels, steps alike for all numbers.

python benchmarks/studies/data_size.py --seeds 3                      # resumes
python benchmarks/studies/data_size.py --collect

The plain objective (SimCLR) and two regularizers at the weights of `default_regularizer.py`, Conv-4 of width 32, 300 steps of
128 images, on images of meta-train drawn without their labels; the smaller sets of a seed are parts of the larger ones. Nothing
is searched here: steps are the same for all sets, so an image of a small one is seen more often.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from arguments import study_parser
from cells import Cell, make, rows_of
from csv_results import FOLDER, Results
from default_regularizer import ARMS as REGULARIZERS
from default_regularizer import TARGETS
from pairs import paired_by_seed, signed

from metatc2.data import load
from metatc2.io.files import write_atomically

ARMS = ("none", "isotropy, weight 0.03", "VISReg, weight 0.3")
COUNTS = (150, 600, 2500, 9600)  # meta-train of glyphs has 9 660, that of shapes 10 018
CONTROLS = ("raw pixels", "random encoder")
TASKS = {"glyphs": "letters", "shapes": "objects"}
RESULTS = Results(
    FOLDER / "data_size.csv",
    {
        **dict.fromkeys(("task", "arm"), str),
        **dict.fromkeys(("images", "seed"), int),
        **{f"accuracy.{name}": float for parts in TARGETS.values() for part in parts for name in part.targets},
    },
)


class Drawn(Cell):
    """A run on images without labels.

    Scripts share bitmaps, such as that of the Latin H and the Greek Eta. Runs on ``glyphs`` know that these are other classes,
    and one on images without labels does not: its targets would be refused as seen.
    """

    @property
    def transfer_options(self) -> dict[str, Any]:
        """As of any cell, and on targets whose bitmaps were seen."""
        return super().transfer_options | {"allow_seen": True}


def file_of(folder: Path, task: str, count: int, seed: int) -> Path:
    """Where the images of a run lie."""
    return folder / "images" / f"{task}-{count}-s{seed}.npz"


def draw(folder: Path, task: str, seed: int) -> None:
    """Files of the images of a seed, for all numbers; those that are there stay."""
    files = {count: file_of(folder, task, count, seed) for count in COUNTS}
    if all(file.exists() for file in files.values()):
        return
    store = load(task)
    rows = store.rows("meta-train")
    rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))]
    for count, file in files.items():
        write_atomically(file, npz(store.images[rows[:count]].numpy()))


def npz(images: np.ndarray[Any, Any]) -> bytes:
    """An archive of images without labels."""
    content = io.BytesIO()
    np.savez(content, images=images)
    return content.getvalue()


def cell(folder: Path, task: str, arm: str, count: int, seed: int) -> Cell:
    """One run."""
    name = f"{task}-{count}-{arm.partition(',')[0]}-s{seed}"
    settings = (
        f"data.source=npz:{file_of(folder, task, count, seed)}", "data.split=all", "calibration.name=none", "encoder.width=32",
        "trainer.precision=32-true", f"trainer.seed={seed}", *REGULARIZERS[arm],
    )  # fmt: skip
    return Drawn(folder / name, task, settings, TARGETS[task])


def gather(folder: Path) -> list[dict[str, Any]]:
    """Accuracy of all runs that are done and of the controls, which stand beside those of most images, by target."""
    rows: list[dict[str, Any]] = []
    for task in TARGETS:
        for seed in range(10):
            for count in COUNTS:
                for arm in ARMS:
                    own = cell(folder, task, arm, count, seed)
                    if not own.done:
                        continue
                    rows.append(line(own, task, arm, count, seed, "encoder"))
                    if (arm, count) == (ARMS[0], COUNTS[-1]):
                        rows += [line(own, task, control, 0, seed, control) for control in CONTROLS]
    return rows


def line(own: Cell, task: str, arm: str, count: int, seed: int, features: str) -> dict[str, Any]:
    """A row of the results."""
    accuracy = {row.target: row.mean for row in rows_of(own, features)}
    return {"task": task, "arm": arm, "images": count, "seed": seed, "accuracy": accuracy}


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Each arm less raw pixels, mean over the targets of each task, by the number of images."""
    arms = [arm.partition(",")[0] for arm in ARMS]
    head = [f"{TASKS[task]}: {arms[0]} | {' | '.join(arms[1:])}" for task in TASKS]
    lines = [f"| images | {' | '.join(head)} | seeds |", f"|---{'|---' * len(ARMS) * len(TASKS)}|---|"]
    for count in (0, *COUNTS):
        cells, counts = [], set()
        for task in TASKS:
            pixels = means(rows, task, "raw pixels", 0)
            for arm in ARMS:
                own = means(rows, task, "random encoder" if count == 0 else arm, count)
                cells.append(signed(paired_by_seed(own, pixels)))
                counts.add(len(own))
        seeds = "/".join(map(str, sorted(counts)))
        lines.append(f"| {'0 (random encoder)' if count == 0 else count} | {' | '.join(cells)} | {seeds} |")
    return "\n".join([*lines, most_less_fewest(rows)])


def most_less_fewest(rows: Sequence[Mapping[str, Any]]) -> str:
    """The line of what the most images win over the fewest."""
    cells, counts = [], set()
    for task in TASKS:
        for arm in ARMS:
            difference = paired_by_seed(*(means(rows, task, arm, count) for count in (COUNTS[-1], COUNTS[0])))
            cells.append(signed(difference))
            counts.add(len(difference["seeds"]) if difference else 0)
    return f"| {COUNTS[-1]} − {COUNTS[0]} | {' | '.join(cells)} | {'/'.join(map(str, sorted(counts)))} |"


def means(rows: Sequence[Mapping[str, Any]], task: str, arm: str, count: int) -> dict[int, float]:
    """Mean accuracy over the targets of a task by seed."""
    own = [row for row in rows if (row["task"], row["arm"], row["images"]) == (task, arm, count)]
    return {row["seed"]: float(np.mean(list(row["accuracy"].values()))) for row in own}


def main() -> None:
    """Make what is missing, gather all that is done."""
    given = study_parser(__doc__, runs="runs/data-size", results=RESULTS, seeds=3).parse_args()
    if not given.collect:
        every = []
        for seed in range(given.seeds):
            for task in TARGETS:
                draw(given.runs, task, seed)
                every += [cell(given.runs, task, arm, count, seed) for count in COUNTS for arm in ARMS]
        make(every, workers=given.workers)
    RESULTS.at(given.results).write(gather(given.runs))


if __name__ == "__main__":
    main()

"""Is there conflict between tasks, and does it grow as capacity shrinks? Each figure beside its noise null.

python benchmarks/studies/conflict_measures.py --seeds 5                        # levels and widths; resumes
python benchmarks/studies/conflict_measures.py --collect --figure benchmarks/studies/results/conflict_measures.png

The encoder has learned one objective for all tasks for 100 steps (at the end of a training all gradients are near zero). Then
gradients of two independent batches a task are compared, and steps on one task are evaluated by the losses of the others; the
null splits the same samples over tasks anew. The noise of products of gradients falls with the size of batches and only with
the root of their number, so that batches are larger than those of training. TC² is measured too: its tasks adapt their weights
first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from arguments import study_parser
from cells import Cell, in_parallel
from csv_results import FOLDER, Results
from kept import measured, missing, restore, row

from metatc2.diagnostics import AgainstNull, gradient_agreement, task_conflict, task_loss
from metatc2.episodes import FactorTasks
from metatc2.experiment.build import build_learner
from metatc2.experiment.config import FactorEpisode
from metatc2.experiment.run import Run
from metatc2.training.checkpoint import latest_checkpoint, load_checkpoint

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # the backend comes first

_FIGURE: dict[str, type] = {**dict.fromkeys(("value", "null", "low", "high"), float), "outside": bool}
RESULTS = Results(
    FOLDER / "conflict_measures.csv",
    {
        **dict.fromkeys(("level", "arm"), str),
        **dict.fromkeys(("width", "seed"), int),
        "identity": str,
        "diverged": bool,
        **dict.fromkeys(("batch", "episodes"), int),
        **dict.fromkeys(("seconds", "signal"), float),
        **{f"{of}.{name}": kind for of in ("difference", "ratio", "cosine") for name, kind in _FIGURE.items()},
    },
)
STEPS, EPISODES, RESPLITS = 100, 4, 39
BATCH = 512  # samples of an episode
LEVELS = ("same", "one-more", "contradiction", "per-sample")
WIDTHS = (8, 16, 32, 64)
WIDTH = 32
MOST_ADAPTED = 1
LR = 0.005  # at 0.05 a step makes its own task worse, and gains say nothing
ARMS = {"one head": ("calibration.name=tasks",), "TC²": ("calibration.name=tc2", "calibration.weights=linear")}


#: What names a point in a row.
AT = ("level", "arm", "width", "seed")


@dataclass(frozen=True)
class Point:
    """Where in the study a cell stands."""

    level: str
    arm: str
    width: int
    seed: int

    def cell(self, folder: Path) -> Cell:
        """Its run."""
        name = f"{self.level}-{self.arm.replace(' ', '-').replace('²', '2')}-w{self.width}-s{self.seed}"
        settings = (
            "data.image_size=28",
            "episode.tasks_differ_by=factor",
            f"episode.level={self.level}",
            "episode.tasks=4",
            "objective.temperature=0.2",
            f"encoder.width={self.width}",
            f"trainer.steps={STEPS}",
            f"trainer.seed={self.seed}",
            *ARMS[self.arm],
        )
        return Cell(folder / name, "shapes", settings, ())


def measure(cell: Cell, path: Path, *, batch: int = BATCH, episodes: int = EPISODES) -> str:
    """Train a cell and measure conflict; its row to `path`."""
    return measured(
        cell,
        path,
        lambda run: {"batch": batch, "episodes": episodes, **conflict_of(run, batch, episodes)},
        lambda result: f"signal {100 * result['signal']:.1f} %, C {result['C']['value']:.2f}",
    )


def conflict_of(run: Run, batch: int, episodes: int) -> dict[str, Any]:
    """Agreement of gradients, conflict and transfer between the tasks of a run, each with its null.

    Args:
        run: with its last checkpoint.
        batch: samples of an episode.
        episodes: how many.
    """
    learner = build_learner(run.config, run.channels, run.image_size)
    checkpoint = latest_checkpoint(run.path / "checkpoint")
    assert checkpoint is not None  # a finished cell has one
    learner.load_state_dict(load_checkpoint(checkpoint)[1]["learner"])
    assert isinstance(run.config.episode, FactorEpisode)  # as all cells of this study
    level = run.config.episode.level
    sampler = FactorTasks(level, tasks=4, batch=batch, image_size=run.image_size, split="meta-train", seed=999)
    drawn = [sampler.sample() for _ in range(episodes)]
    if level == "same":  # one kind: tasks are told apart by their place
        drawn = [replace(episode, identity=None) for episode in drawn]
    loss, params = task_loss(learner)
    generator = torch.Generator().manual_seed(1)
    agreement = gradient_agreement(loss, params, drawn, generator=generator, resplits=RESPLITS)
    fewer = drawn[: max(1, episodes // 4)]  # M² losses an episode and draw
    conflict = task_conflict(loss, params, fewer, generator=generator, resplits=RESPLITS, lr=LR)
    ratio = agreement.ratio["all"]
    return {
        "ratio": None if ratio is None else _shown(ratio),
        "difference": _shown(
            agreement.difference["all"], agreement.signal["all"].value / agreement.within["all"].value
        ),
        "within": agreement.within["all"].value,
        "signal": agreement.signal["all"].value,
        "ratio_by_block": {name: None if r is None else r.value for name, r in agreement.ratio.items()},
        "C": _shown(conflict.conflict_rate),
        "T": _shown(conflict.transferability),
        "cosine": _shown(conflict.cosine["all"]),
        "own_gain": conflict.own_gain.value,
        "kinds": list(conflict.kinds),
        "gains": [list(row) for row in conflict.gains],
    }


def _shown(figure: AgainstNull, scale: float = 1.0) -> dict[str, Any]:
    return {
        "value": scale * figure.value,
        "null": scale * figure.null_mean,
        "low": scale * figure.null_low,
        "high": scale * figure.null_high,
        "outside": figure.outside,
        "p": figure.p,
    }


def points(seeds: int) -> list[Point]:
    """Seed by seed: all levels at one width, then the other widths."""
    every = []
    for seed in range(seeds):
        every += [Point(level, "one head", WIDTH, seed) for level in LEVELS]
        every += [Point(level, "one head", w, seed) for level in LEVELS[1:3] for w in WIDTHS if w != WIDTH]
        # Tasks that adapt before every gradient take ten times as long.
        every += [Point(level, "TC²", WIDTH, seed) for level in ("same", "one-more") if seed < MOST_ADAPTED]
    return every


def gather(folder: Path) -> list[dict[str, Any]]:
    """Rows of all cells that are done, with today's number and size of episodes."""
    every = [result for point in points(10) if (result := row(point, AT, point.cell(folder)))]
    return [result for result in every if (result.get("batch"), result.get("episodes")) == (BATCH, EPISODES)]


def cell_of(row: Mapping[str, Any], folder: Path) -> Cell | None:
    """The cell of a row; None for one of an arm that is no more."""
    return Point(*(row[key] for key in AT)).cell(folder) if row["arm"] in ARMS else None


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Each figure: mean over seeds, in brackets that of its null, and in how many runs it is outside the null's 95 %.

    *Signal* and *not shared* are shares of a gradient's mean squared length, noise included: that of the expected gradient, and
    that by which expected gradients of tasks differ. One less their quotient is the agreement.
    """
    lines = [
        "| level | arm | width | signal, % | not shared, % | agreement | cosine of one batch | seeds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for level, arm, width in sorted(
        {(r["level"], r["arm"], r["width"]) for r in rows},
        key=lambda k: (LEVELS.index(k[0]), list(ARMS).index(k[1]), k[2]),
    ):
        own = [r for r in rows if (r["level"], r["arm"], r["width"]) == (level, arm, width)]
        cells = [f"{100 * float(np.mean([r['signal'] for r in own])):.1f}"]
        for name, scale, digits in (("difference", 100, 1), ("ratio", 1, 2), ("cosine", 1, 2)):
            result = [r[name] for r in own if r.get(name) is not None]
            if not result:
                cells.append("–")
                continue
            value, null = (scale * float(np.mean([f[key] for f in result])) for key in ("value", "null"))
            outside = sum(bool(f["outside"]) for f in result)
            cells.append(f"{value:.{digits}f} ({null:.{digits}f}) {outside}/{len(result)}")
        lines.append(f"| {level} | {arm} | {width} | {' | '.join(cells)} | {len(own)} |")
    return "\n".join(lines)


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Disagreement by level, and by width of the encoder."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.6, 3.2), constrained_layout=True)
    for place, level in enumerate(LEVELS):
        for arm, color, shift in (("one head", "#707070", -0.12), ("TC²", "#c1272d", 0.12)):
            own = [r for r in rows if (r["level"], r["arm"], r["width"]) == (level, arm, WIDTH)]
            if own:
                values = [100 * r["difference"]["value"] for r in own]
                label = arm if not place else None
                left.plot([place + shift] * len(values), values, "o", color=color, markersize=4, label=label)
                band = [100 * float(np.mean([r["difference"][key] for r in own])) for key in ("low", "high")]
                left.plot([place + shift] * 2, band, color="#bbbbbb", linewidth=5, zorder=0)
    left.set_xticks(range(len(LEVELS)), LEVELS, fontsize=8)
    left.set_ylabel("share of a gradient's square\nthat tasks do not share, %")
    left.legend(frameon=False, fontsize=8)
    for level, color in (("one-more", "#3477b5"), ("contradiction", "#d98a1f")):
        own = [r for r in rows if r["level"] == level and r["arm"] == "one head"]
        widths = sorted({r["width"] for r in own})
        means = [100 * float(np.mean([r["difference"]["value"] for r in own if r["width"] == w])) for w in widths]
        right.plot(widths, means, marker="o", color=color, label=level)
        right.plot(
            [r["width"] for r in own], [100 * r["difference"]["value"] for r in own], ".", color=color, alpha=0.5
        )
    right.set_xscale("log", base=2)
    right.set_xlabel("width of Conv-4")
    right.legend(frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    """Make the cells that are asked for, gather all that are done, draw."""
    parser = study_parser(__doc__, runs="runs/conflict-measures", results=RESULTS, seeds=5)
    parser.add_argument("--figure", type=Path, help="PNG file")
    given = parser.parse_args()
    results = RESULTS.at(given.results)
    restore(results, given.runs, lambda row: cell_of(row, given.runs))
    if not given.collect:
        asked = [point.cell(given.runs) for point in points(given.seeds)]
        in_parallel(measure, missing(asked), workers=given.workers)
    results.write(gather(given.runs))
    if given.figure:
        draw(results.read(), given.figure)


if __name__ == "__main__":
    main()

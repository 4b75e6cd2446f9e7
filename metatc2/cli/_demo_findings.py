"""What the runs of the demo say, whichever way it fell: tables, one sentence a comparison, and the picture's contents."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from metatc2.data import ImageStore
from metatc2.diagnostics import TaskChoices, task_choices
from metatc2.episodes import FactorTasks
from metatc2.episodes.factor_tasks import LEVELS
from metatc2.experiment.build import build_sampler
from metatc2.experiment.config import override
from metatc2.experiment.run import compare, load_run
from metatc2.experiment.trained_learner import trained_learner
from metatc2.io.run_files import RESULTS
from metatc2.io.suggest import command
from metatc2.io.terminal import Group, PlainTable
from metatc2.learners import TC2
from metatc2.metrics.intervals import paired_difference
from metatc2.report import COLORS, MethodCurve, comparison_table, demo_figure
from metatc2.training.metrics_file import read_metrics
from metatc2.training.run_folder import RunFolder
from metatc2.transfer import MEAN_TARGET, RANDOM_ENCODER, RAW_PIXELS, Difference, Row, mean_interval, read_results

# The regularizer beside TC² is the strongest control of docs/evidence.md, at the weight that its search chose.
METHODS = {"plain": "plain", "visreg": "VISReg", "tc2": "TC²"}
AGAINST = ("plain", "visreg")
# Images of combinations of shape and texture that no run has seen. All tasks keep those two; one kind of task in five keeps
# hue, another lighting, another the position, and the rest vary it.
TARGETS = {
    "shapes:meta-test": "shape and texture",
    "shapes:hue:test": "hue",
    "shapes:lighting:test": "lighting",
    "shapes:x:test": "position across",
}
SHARED = "shapes:meta-test"
WAY, SHOT = 5, 5
_VERDICTS = ("better", "not distinguishable", "worse")
_EPISODES = 60  # fresh ones that weights are shown for


class Demo:
    """The finished runs of a demo.

    Args:
        paths: run folders by method and seed; every method with the same seeds.
        store: images as the runs take them.
    """

    def __init__(self, paths: Mapping[tuple[str, int], Path], store: ImageStore) -> None:
        self.paths, self.store = paths, store
        self.seeds = sorted({seed for _, seed in paths})
        self.rows = {key: read_results(path / RESULTS)[0] for key, path in paths.items()}

    @cached_property
    def differences(self) -> dict[str, list[Difference]]:
        """TC² against each other method, by that method: every target, then their mean."""
        return {
            method: compare([self.paths["tc2", s] for s in self.seeds] + [self.paths[method, s] for s in self.seeds])
            for method in AGAINST
        }

    def table(self) -> PlainTable:
        """Accuracy by method and target: mean over seeds with its interval."""
        title = f"{WAY}-way {SHOT}-shot accuracy on images never seen, % (mean ± 95 % interval over seeds)"
        table = PlainTable(title)
        table.add_column("", no_wrap=True)
        for name in (*TARGETS.values(), "mean"):
            table.add_column(name, justify="right", no_wrap=True)
        for label, by_target in self.accuracies().items():
            table.add_row(label, *[f"{100 * mean:.1f}±{100 * half:.1f}" for mean, half in by_target.values()])
        return table

    def comparison(self) -> Group:
        """Paired differences on every target and on their mean."""
        return comparison_table([d for of_method in self.differences.values() for d in of_method])

    def headline(self) -> str:
        """See `pays`, `headline` and `strongest_controls`."""
        shared = [
            [_one(self.rows["plain", seed], SHARED, features).mean for seed in self.seeds]
            for features in ("encoder", RAW_PIXELS, RANDOM_ENCODER)
        ]
        return f"{pays(*shared)}\n{headline(self.differences)}\n{strongest_controls(self.accuracies())}"

    def next_steps(self) -> str:
        """What to type next, a command a line."""
        seed = self.seeds[0]
        lines = {
            "the same question of your own images": command("advise", "folder:PATH"),
            "two of these runs side by side": command("report", self.paths["tc2", seed], self.paths["plain", seed]),
        }
        width = max(map(len, lines.values()))
        return "\n".join(["Next:", *[f"  {words:<{width}}  {why}" for why, words in lines.items()]])

    def accuracies(self) -> dict[str, dict[str, tuple[float, float]]]:
        """Mean over seeds and half its interval, by method (controls first), then by target and, last, ``"mean"``."""
        lines = {RAW_PIXELS: ("plain", RAW_PIXELS), RANDOM_ENCODER: ("plain", RANDOM_ENCODER)}
        lines |= {label: (method, "encoder") for method, label in METHODS.items()}
        return {label: self._accuracies(*line) for label, line in lines.items()}

    def draw(self, path: Path) -> None:
        """The picture."""
        colors = dict(zip(METHODS.values(), COLORS, strict=False))
        demo_figure(
            path,
            pairs=pairs_by_kind(self.store.image_size),
            curves=[self._curve(method) for method in METHODS],
            accuracies=self.accuracies(),
            colors={RAW_PIXELS: "#ececec", RANDOM_ENCODER: "#cfcfcf", **colors},
            choices=self._choices(),
            headline=self.headline(),
            setting=f"{WAY}-way {SHOT}-shot",
            chance=1 / WAY,
        )

    def _accuracies(self, method: str, features: str) -> dict[str, tuple[float, float]]:
        values = torch.tensor(
            [[_one(self.rows[method, seed], target, features).mean for seed in self.seeds] for target in TARGETS],
            dtype=torch.float64,
        )
        values = torch.cat([values, values.mean(0, keepdim=True)])
        return {
            name: mean_interval(row) if len(row) > 1 else (row[0], 0.0)
            for name, row in zip((*TARGETS.values(), "mean"), values.tolist(), strict=True)
        }

    def _curve(self, method: str) -> MethodCurve:
        records = [read_metrics(RunFolder(self.paths[method, seed]).metrics) for seed in self.seeds]
        losses = np.array([[record["ssl"] for record in run] for run in records])
        return MethodCurve(METHODS[method], [record["step"] for record in records[0]], losses)

    def _choices(self) -> TaskChoices:
        """Weights that tasks of fresh episodes choose under the first seed's TC², on combinations it has not seen."""
        run = load_run(self.paths["tc2", self.seeds[0]])
        learner = trained_learner(run)
        assert isinstance(learner, TC2)  # the demo trained it and has kept its checkpoint
        fresh = override(
            run.config, ["data.split=meta-test", f"trainer.seed={run.config.trainer.seed + 1000}"], where="demo"
        )
        return task_choices(learner, build_sampler(fresh, self.store), _EPISODES)


def headline(by_method: Mapping[str, Sequence[Difference]]) -> str:
    """What was measured, one sentence a comparison, every target by its verdict.

    Args:
        by_method: differences of TC² against each other method, by that method.
    """
    lines = [
        f"TC² on tasks that disagree, {WAY}-way {SHOT}-shot on images never seen. All tasks keep shape and texture; hue, "
        "lighting and position are each kept by one kind of task and varied by the others."
    ]
    for method, differences in by_method.items():
        verdicts = dict.fromkeys((*_VERDICTS, *(d.verdict for d in differences)))
        parts = []
        for verdict in verdicts:
            described = [_described(d) for d in differences if d.verdict == verdict and d.target != MEAN_TARGET]
            parts += [
                f"{verdict} on {' and '.join([', '.join(described[:-1])] * (len(described) > 1) + described[-1:])}"
            ] * bool(described)
        parts += [f"{d.verdict} on their mean {_points(d)}" for d in differences if d.target == MEAN_TARGET]
        lines.append(f"Against {METHODS[method]}, in points: {'; '.join(parts)}.")
    return "\n".join(lines)


def strongest_controls(accuracies: Mapping[str, Mapping[str, tuple[float, float]]]) -> str:
    """On every target the best of all that is not TC², what needs no training included, in one sentence.

    Args:
        accuracies: see `Demo.accuracies`.
    """
    ours, others = METHODS["tc2"], [name for name in accuracies if name != METHODS["tc2"]]
    parts = []
    for target in TARGETS.values():
        name = max(others, key=lambda control: accuracies[control][target][0])
        best, own = accuracies[name][target][0], accuracies[ours][target][0]
        parts.append(f"{name} on {target} ({100 * best:.1f} %, {ours} {100 * own:.1f} %)")
    return f"The strongest control is {', '.join(parts)}."


def pays(trained: Sequence[float], pixels: Sequence[float], fresh: Sequence[float]) -> str:
    """What pre-training gains on the target that all tasks share, over what needs none, in one sentence.

    Args:
        trained: accuracy of the plain objective there, one a seed.
        pixels: of raw pixels, on the same episodes.
        fresh: of the encoder of the same seed before training.

    >>> print(pays([0.9, 0.8], [0.3, 0.2], [0.5, 0.5]).replace(", ", "\\n"))
    On shape and texture: plain 85.0 %
    +60.0 ± 0.0 points over raw pixels
    +35.0 ± 63.5 over a random encoder.
    """
    gains = []
    for name, control in (("points over raw pixels", pixels), ("over a random encoder", fresh)):
        if len(trained) > 1:
            mean, half = paired_difference(trained, control)
            gains.append((mean, half, f"{100 * mean:+.1f} ± {100 * half:.1f} {name}"))
        else:
            mean = trained[0] - control[0]
            gains.append((mean, math.inf, f"{100 * mean:+.1f} {name} (one seed)"))
    told = all(mean > half for mean, half, _ in gains)
    begin = f"Pre-training pays on {TARGETS[SHARED]}" if told else f"On {TARGETS[SHARED]}"
    accuracy = 100 * sum(trained) / len(trained)
    return f"{begin}: {METHODS['plain']} {accuracy:.1f} %, {', '.join(gain for *_, gain in gains)}."


def pairs_by_kind(image_size: int, pairs: int = 6, level: str = "one-more") -> dict[str, Tensor]:
    r"""Positive pairs of every kind of task, by what they share: float ``(pairs, 2, 3, H, W)`` in [0, 1].

    >>> pairs = pairs_by_kind(16, pairs=2)
    >>> list(pairs)[:2], pairs["shape, texture"].shape
    (['shape, texture', 'shape, texture\n+ hue'], torch.Size([2, 2, 3, 16, 16]))
    """
    notions = LEVELS[level]
    sampler = FactorTasks(
        level, tasks=len(notions), batch=pairs * len(notions), image_size=image_size, split="meta-train", seed=1
    )
    episode = sampler.sample()
    assert episode.identity is not None  # of these tasks it is known
    kinds = episode.identity.kinds.tolist()
    shared = [name for name in notions[0].keeps if all(name in notion.keeps for notion in notions)]
    views = {}
    for kind, notion in enumerate(notions):
        more = [name for name in notion.keeps if name not in shared]
        label = ", ".join(shared) + ("\n+ " + ", ".join(more)) * bool(more)
        views[label] = episode.images[kinds.index(kind)]
    return views


def _one(rows: Sequence[Row], target: str, features: str) -> Row:
    return next(row for row in rows if (row.target, row.features) == (target, features))


def _described(d: Difference) -> str:
    return f"{TARGETS[d.target]} {_points(d)}"


def _points(d: Difference) -> str:
    return f"({100 * d.difference:+.1f} ± {100 * d.ci95:.1f})"

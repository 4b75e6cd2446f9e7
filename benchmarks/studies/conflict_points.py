"""What the study of conflict runs: levels, arms, objectives, widths, and the points of each of its parts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from cells import STEPS, Cell


@dataclass(frozen=True)
class Arm:
    """What is compared.

    Args:
        settings: keys that make it.
        told: whether it is given what each task is.
        main: whether all levels and seeds are asked of it; the others are run at the one-more level.
    """

    settings: tuple[str, ...]
    told: bool = False
    main: bool = False


def _tasks(*more: str) -> tuple[str, ...]:
    return ("calibration.name=tasks", *more)


def _tc2(*more: str, weights: str = "linear") -> tuple[str, ...]:
    # Named, for a study must not follow a default that moves.
    return ("calibration.name=tc2", f"calibration.weights={weights}", *more)


WIDTH = 32
REGULARIZERS = {"isotropy": "isotropy", "SIGReg": "sigreg", "VISReg": "visreg"}
#: Searched beside the weight that is the regularizers' own, 0.03.
WEIGHTS = ("0.1", "0.3", "1", "3")


PARTS = ("rates", "weights", "main", "tuned", "more", "objectives", "capacity", "per-sample")


def _with_weights(settings: tuple[str, ...], label: str) -> dict[str, Arm]:
    return {
        label.format(name=name, weight=weight): Arm(
            (*settings, f"regularizer.name={key}", f"regularizer.weight={weight}")
        )
        for name, key in REGULARIZERS.items()
        for weight in WEIGHTS
    }


ARMS: dict[str, Arm] = {
    "TC²": Arm(_tc2(), main=True),
    "TC² (gates)": Arm(_tc2(weights="task"), main=True),
    "TC² (gates by sample)": Arm(_tc2(weights="sample"), main=True),
    "one head": Arm(_tasks(), main=True),
    "isotropy": Arm(_tasks("regularizer.name=isotropy"), main=True),
    "SIGReg": Arm(_tasks("regularizer.name=sigreg"), main=True),
    "VISReg": Arm(_tasks("regularizer.name=visreg"), main=True),
    "PCGrad": Arm(_tasks("learner.aggregate=pcgrad"), main=True),
    "a mask a task": Arm(_tasks("head.told=mask-sigmoid"), told=True, main=True),
    "a head a task": Arm(_tasks("head.told=heads"), told=True, main=True),
    **_with_weights(_tasks(), "{name}, weight {weight}"),
    **_with_weights(_tc2(), "TC² + {name}, weight {weight}"),
    # Steps for as long as TC²'s take.
    "one head, 15 % more steps": Arm(_tasks(f"trainer.steps={round(1.15 * STEPS)}")),
    "TC², 4 factors": Arm(_tc2("calibration.factors=4")),
    "TC², 12 factors": Arm(_tc2("calibration.factors=12")),
    "a linear map a task": Arm(_tasks("head.told=linear-map"), told=True),
    "separate encoders": Arm(_tasks("encoder.one_a_kind=true"), told=True),
    "TC² without inner steps": Arm(_tc2("calibration.inner_steps=0")),
    "TC², first order": Arm(_tc2("calibration.adjoint=first-order")),
    **{f"TC² + {name}": Arm(_tc2(f"regularizer.name={key}")) for name, key in REGULARIZERS.items()},
    "TC², loss on the others too": Arm(_tc2("calibration.outer_on=others")),
    "TC², loss on the query": Arm(_tc2("calibration.outer_on=query")),
    "TC² (gates), rate 3": Arm(_tc2("calibration.inner_lr=3", weights="task")),
    "TC², rate 3": Arm(_tc2("calibration.inner_lr=3")),
    "TC², T = 5": Arm(_tc2("calibration.inner_steps=5")),
    "TC², as many factors as go": Arm(_tc2(f"calibration.factors={WIDTH - 1}")),
    "TC², sparsity 0.1": Arm(_tc2("calibration.sparsity=0.1")),
    "TC², reconstruction 1": Arm(_tc2("calibration.reconstruction=1")),
    "shared TC²": Arm(("calibration.name=tc2", "calibration.adapt=shared")),
    "one head, negatives of all tasks": Arm(("calibration.name=none",)),
    "UPGrad": Arm(_tasks("learner.aggregate=upgrad")),
    "Nash-MTL": Arm(_tasks("learner.aggregate=nash-mtl")),
    "uncertainty weights": Arm(_tasks("learner.aggregate=uncertainty"), told=True),
    "concatenate": Arm(_tasks("head.told=concatenate"), told=True),
    "FiLM": Arm(_tasks("head.told=film"), told=True),
    "a sparse mask a task": Arm(_tasks("head.told=mask-sparse"), told=True),
    "split dimensions": Arm(_tasks("head.told=split"), told=True),
    "random masks": Arm(_tasks("head.told=random-masks"), told=True),
}
SUBJECT = "TC²"
SUBJECTS = ("TC²", "TC² (gates)", "TC² (gates by sample)")
MAIN = tuple(name for name, arm in ARMS.items() if arm.main)
LEVELS = ("one-more", "contradiction", "per-sample-hue", "per-sample", "same")
#: Without MoCo: keys in its queue were weighted for other tasks, so calibration itself tells them from positives.
OBJECTIVES = {
    "simclr": ("objective.temperature=0.2",),
    "byol": ("objective.momentum=0.95",),
    "barlow": (),
    "vicreg": (),
    "lejepa": (),
    "visreg": (),
}
WIDTHS = (8, 16, 32, 64)
#: Searched beside the main arms.
SEARCHED = ("TC² (gates), rate 3", "TC², rate 3")
RATES = ("0.002", "0.004")
SEARCH_SEED = 100
FACTOR_ARMS = ("TC², 4 factors", "TC², 12 factors", "TC², as many factors as go")


#: What names a point in a row.
AT = ("level", "objective", "arm", "width", "seed", "lr")


@dataclass(frozen=True)
class Point:
    """Where in the study a cell stands."""

    level: str
    objective: str
    arm: str
    width: int
    seed: int
    lr: str

    def cell(self, folder: Path) -> Cell:
        """Its run."""
        words = (self.level, self.objective, self.arm, f"w{self.width}", f"lr{self.lr}", f"s{self.seed}")
        name = "-".join(word.replace(" ", "-").replace(",", "").replace("²", "2").replace("+", "and") for word in words)
        width = self.width
        if self.arm == "separate encoders":  # of together as many parameters
            width = max(4, round(width / math.sqrt(_KINDS[self.level])))
        settings = (
            "data.image_size=28",
            "episode.tasks_differ_by=factor",
            f"episode.level={self.level}",
            "episode.tasks=4",
            f"objective.name={self.objective}",
            *OBJECTIVES[self.objective],
            f"encoder.width={width}",
            f"trainer.lr={self.lr}",
            f"trainer.seed={self.seed}",
            *ARMS[self.arm].settings,
        )
        return Cell(folder / name, "shapes", settings, ())


_KINDS = {"one-more": 5, "contradiction": 4, "per-sample": 2, "per-sample-hue": 2, "same": 1}


def points(part: str, seeds: int, rates: Mapping[str, str], tuned: Sequence[str] = ()) -> list[Point]:
    """What a part of the study asks for, seed by seed, so that a study that is cut is balanced.

    Args:
        part: one of `PARTS`.
        seeds: how many.
        rates: learning rate by arm, from the search.
        tuned: arms with the weight of their regularizer that was best, from the search.
    """

    def at(level: str, arm: str, seed: int, objective: str = "simclr", width: int = WIDTH) -> Point:
        return Point(level, objective, arm, width, seed, rates.get(arm, RATES[0]))

    if part == "rates":
        return [Point("one-more", "simclr", arm, WIDTH, SEARCH_SEED, lr) for arm in (*MAIN, *SEARCHED) for lr in RATES]
    if part == "weights":
        alone, with_tc2 = (
            _with_weights((), "{name}, weight {weight}"),
            _with_weights((), "TC² + {name}, weight {weight}"),
        )
        result = [Point("one-more", "simclr", arm, WIDTH, SEARCH_SEED, lr) for arm in alone for lr in RATES]
        own = [f"TC² + {name}" for name in REGULARIZERS]
        lr = rates.get(SUBJECT, RATES[0])
        return result + [Point("one-more", "simclr", arm, WIDTH, SEARCH_SEED, lr) for arm in (*own, *with_tc2)]
    every = range(seeds)
    if part == "tuned":
        levels = ("one-more", "contradiction", "same")
        longer = [(level, "one head, 15 % more steps") for level in levels[:2]]
        return [at(level, arm, seed) for seed in every for level, arm in [*product(levels, tuned), *longer]]
    if part == "main":
        null = ("TC²", "TC² (gates)", "TC² (gates by sample)", "one head", "isotropy")
        both = [(level, arm) for level in LEVELS for arm in MAIN if level != "same" or arm in null]
        return [at(level, arm, seed) for seed in every for level, arm in both]
    if part == "per-sample":
        sides = (SUBJECT, "TC² (gates by sample)", *beside(tuned)[1:])
        return [at(level, arm, seed) for seed in every for level in LEVELS[2:4] for arm in sides]
    if part == "more":
        return [at("one-more", arm, seed) for seed in every for arm in ARMS if arm not in MAIN and "weight" not in arm]
    if part == "objectives":
        others = [name for name in OBJECTIVES if name != "simclr"]
        return [at("one-more", arm, seed, o) for seed in every for o in others for arm in beside(tuned)]
    result = [at("one-more", arm, seed, width=w) for seed in every for w in WIDTHS for arm in (SUBJECT, "one head")]
    return result + [at("one-more", arm, seed) for seed in every for arm in FACTOR_ARMS]


def beside(tuned: Sequence[str]) -> tuple[str, ...]:
    """Arms of the table of objectives: TC², none, the strongest regularizer alone, a head of each task's own."""
    return (SUBJECT, "one head", *[arm for arm in tuned if not arm.startswith("TC²")][:1], "a head a task")

"""From the words of a command to a configuration: a task, the flags of a method, and ``--set``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from metatc2.errors import InputError
from metatc2.experiment.config import Config, LabeledEpisode, override_together, read_task
from metatc2.io.options import show
from metatc2.io.registries import MEASURES, OBJECTIVES

#: Of what a command chooses where nothing is said.
USUAL = "metatc2 pretrain"
FLAGS = "command line"


@dataclass(frozen=True)
class MethodFlags:
    """Flags that say how to train; None was not given. They are those of `metatc2 pretrain`."""

    objective: str | None = None
    calibration: str | None = None
    regularize: str | None = None
    condition: str | None = None
    learner: str | None = None
    adjoint: str | None = None
    steps: int | None = None
    seed: int | None = None
    encoder: str | None = None
    weights: str | None = None
    monitor: str | None = None
    devices: int | None = None
    nodes: int | None = None
    precision: str | None = None
    accumulate: int | None = None

    def assignments(self, *, labeled: bool) -> list[str]:
        """The keys that they set.

        >>> MethodFlags(adjoint="recompute", seed=3).assignments(labeled=False)
        ['calibration.adjoint=recompute', 'trainer.seed=3']
        >>> MethodFlags(monitor="knn+rankme").assignments(labeled=False)
        ['monitor.name=online', 'monitor.measures=["knn", "rankme"]']
        """
        given = {
            "objective.name": self.objective,
            "calibration.name": self.calibration,
            "regularizer.name": self.regularize,
            "condition.name": self.condition,
            "learner.name": self.learner,
            "learner.adjoint" if labeled else "calibration.adjoint": self.adjoint,
            "trainer.steps": self.steps,
            "trainer.seed": self.seed,
            "encoder.name": self.encoder,
            "encoder.weights": self.weights,
            "monitor.name": self.monitor,
            "trainer.devices": self.devices,
            "trainer.nodes": self.nodes,
            "trainer.precision": self.precision,
            "trainer.accumulate": self.accumulate,
        }
        named = (self.monitor or "").split("+")
        if len(named) > 1 and (others := [name for name in named if name not in MEASURES]):
            raise InputError(
                f'--monitor {self.monitor}: {others[0]!r} is no measure; join by "+" some of {", ".join(MEASURES)}, or write '
                "coding-rate, online or none alone"
            )
        if self.monitor and all(name in MEASURES for name in named):
            given |= {"monitor.name": "online", "monitor.measures": show(self.monitor.split("+"))}
        return [f"{key}={value}" for key, value in given.items() if value is not None]


def configured(task: str, flags: MethodFlags, assignments: Sequence[str] = ()) -> Config:
    """The configuration of a command: a task file, then what the flags imply, ``--set``, and the flags.

    Args:
        task: see `read_task`.
        flags: of the method.
        assignments: of ``--set``.

    Raises:
        InputError: as `override`.

    >>> chosen = MethodFlags(objective="byol", calibration="tc2")
    >>> configured("glyphs", MethodFlags()).regularizer.name, configured("glyphs", chosen).regularizer.name
    ('isotropy', 'none')
    """
    base, given = read_task(task), {word.partition("=")[0].strip(): word for word in assignments}
    # What a flag is for follows from the learner, and what is usual from the objective, so they are known first.
    learners = {"--set": [word for key, word in given.items() if key == "learner.name"]}
    learners[FLAGS] = [] if flags.learner is None else [f"learner.name={flags.learner}"]
    labeled = isinstance(override_together(base, learners).episode, LabeledEpisode)
    objectives = {"--set": [word for key, word in given.items() if key == "objective.name"]}
    objectives[FLAGS] = [] if flags.objective is None else [f"objective.name={flags.objective}"]
    alike = OBJECTIVES[override_together(base, objectives).objective.name].two_views
    usual = [] if labeled else _usual(flags, set(given), alike=alike)
    return override_together(base, {USUAL: usual, "--set": assignments, FLAGS: flags.assignments(labeled=labeled)})


def _usual(flags: MethodFlags, keys: set[str], *, alike: bool) -> list[str]:
    """What an objective is trained with where the command does not say.

    Args:
        flags: of the method.
        keys: of ``--set``.
        alike: whether the objective asks views of a sample to be alike.
    """
    if flags.calibration is not None or "calibration.name" in keys:
        return []
    if {"head.told", "learner.aggregate", "encoder.one_a_kind"} & keys:
        return ["calibration.name=tasks"]  # controls that keep tasks apart
    if flags.adjoint is not None or any(key.startswith("calibration.") for key in keys):
        return ["calibration.name=tc2"]  # its settings are given
    named = flags.regularize is not None or any(key.startswith("regularizer.") for key in keys)
    # What helps where tasks do not differ and views of a sample shall be alike; see docs/evidence.md.
    return ["regularizer.name=isotropy"] if not named and alike else []

"""How many steps every arm gets: the same time for all, from the time that a step takes here."""

from __future__ import annotations

import math
import shutil
import statistics
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from metatc2.data import ImageStore
from metatc2.errors import InputError
from metatc2.experiment import run as runs
from metatc2.experiment.advice.measure import RATES, from_scratch
from metatc2.experiment.advice.parts import Parts
from metatc2.experiment.advice.settings import Asked, run_config
from metatc2.experiment.config import Config
from metatc2.training.records import HealthWarning

#: Of the minutes given; the rest is for measuring, which is not known before.
TRAINING_SHARE = 0.8
#: Fewer steps say nothing of pre-training.
LEAST_STEPS = 20
#: Training from scratch gets these even where its time is over: a control that was cut short would flatter pre-training.
LEAST_SCRATCH, MOST_SCRATCH = 100, 1000
_WARM, _TIMED = 2, 5


@dataclass(frozen=True)
class Budget:
    """Steps of every arm, and what a step was seen to take.

    Args:
        steps: of pre-training, by the key of the arm.
        step_seconds: of a step, likewise; empty where steps were given.
        scratch_steps: of every training from scratch.
        scratch_seconds: of such a step; 0 where steps were given.
    """

    steps: dict[str, int]
    step_seconds: dict[str, float]
    scratch_steps: int
    scratch_seconds: float

    def seconds(self, key: str) -> float:
        """What one pre-training is expected to take."""
        return self.steps[key] * self.step_seconds.get(key, 0.0)


def scratch_fits(asked: Asked, parts: Parts) -> int:
    """Trainings from scratch for one seed: every rate on the validation draw, the chosen one on every test draw."""
    return (len(RATES) + asked.draws) * len(parts.labels_per_class)


def derive(
    asked: Asked, base: Config, parts: Parts, folder: Path, stop: Callable[[], bool], clock: Callable[[], float]
) -> Budget:
    """The budget of every arm.

    Each pre-training, and all training from scratch of one seed, gets the same time: the question is what a user gets for it,
    and steps of methods do not cost the same.

    Args:
        asked: see `Asked`.
        base: see `metatc2.experiment.advice.settings.base_config`.
        parts: see `Parts`.
        folder: for runs that are timed; removed.
        stop: see `metatc2.experiment.run.pretrain`.
        clock: seconds.

    Raises:
        InputError: if the minutes are too few for `LEAST_STEPS` of every arm.
        TrainingStopped: if `stop` said so.
    """
    if asked.steps is not None:
        return Budget({arm.key: asked.steps for arm in asked.arms}, {}, asked.steps, 0.0)
    assert asked.minutes is not None
    shutil.rmtree(folder, ignore_errors=True)
    try:
        each = {
            arm.key: _step_seconds(run_config(base, arm, 0, 1000), parts.store, folder / arm.key, stop, clock)
            for arm in asked.arms
        }
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    scratch = _scratch_seconds(base, parts, clock)
    share = 60 * asked.minutes * TRAINING_SHARE / (asked.seeds * (len(each) + 1))
    slowest = max(each.values())
    if share < LEAST_STEPS * slowest:
        needed = asked.minutes * LEAST_STEPS * slowest / share
        raise InputError(
            f"advise: --minutes {asked.minutes:g} leaves {int(share / slowest)} steps for a pre-training, one takes up to "
            f"{slowest:.2g} s here, and fewer than {LEAST_STEPS} say nothing; give --minutes {math.ceil(needed)} or more, or "
            "make steps cheaper, e.g. --set encoder.width=16"
        )
    steps = int(share / max(scratch, 1e-9) / scratch_fits(asked, parts))
    return Budget(
        {key: max(LEAST_STEPS, int(share / max(seconds, 1e-9))) for key, seconds in each.items()},
        each,
        min(MOST_SCRATCH, max(LEAST_SCRATCH, steps)),
        scratch,
    )


def _step_seconds(
    config: Config, store: ImageStore, folder: Path, stop: Callable[[], bool], clock: Callable[[], float]
) -> float:
    stamps: list[float] = []

    def enough() -> bool:
        stamps.append(clock())
        return stop() or len(stamps) > _WARM + _TIMED

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", HealthWarning)
            runs.pretrain(config, folder, store=store, stop=enough)
    except runs.TrainingStopped:
        if stop():
            raise
    own = stamps[_WARM:]
    return statistics.median(after - before for before, after in pairwise(own))


def _scratch_seconds(base: Config, parts: Parts, clock: Callable[[], float]) -> float:
    rows = parts.test_draws(parts.labels_per_class[-1], 0, 1)[0]
    run = from_scratch(base, parts.store, seed=0, steps=_TIMED)
    images, labels = parts.store.images[rows], parts.labels(rows)
    run.train(images, labels, RATES[0], 0.0)
    begun = clock()
    run.train(images, labels, RATES[0], 0.0)
    return (clock() - begun) / _TIMED

"""Every job of advice, in order; what an earlier call has done is read and not done again."""

from __future__ import annotations

import itertools
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from metatc2.errors import InputError
from metatc2.experiment import run as runs
from metatc2.experiment.advice.arms import CONTROLS, PIXELS, RANDOM, SCRATCH, Arm, Kind
from metatc2.experiment.advice.budget import Budget, scratch_fits
from metatc2.experiment.advice.given import Given
from metatc2.experiment.advice.measure import AdviceCell, from_scratch, linear_cell, scratch_cell
from metatc2.experiment.advice.parts import Parts
from metatc2.experiment.advice.plan import CELLS
from metatc2.experiment.advice.progress import Jobs
from metatc2.experiment.advice.rule import MeasuredArm
from metatc2.experiment.advice.settings import Asked, run_config
from metatc2.experiment.auto_resume import is_resumable
from metatc2.experiment.build import build_fresh_encoder
from metatc2.experiment.config import Config, override
from metatc2.io.files import write_atomically, writing
from metatc2.io.reading import read_json
from metatc2.training.outer_step import TrainingDiverged
from metatc2.training.records import HealthWarning
from metatc2.training.run_folder import RunFolder
from metatc2.transfer import FeatureTable

#: Of a job that an earlier call has done.
_DONE = 1e-9
#: Images that an encoder is timed on.
_TIMED = 16


def expected_seconds(
    asked: Asked, parts: Parts, budget: Budget, given: Sequence[Given], path: Path, clock: Callable[[], float]
) -> list[float]:
    """What each job is expected to take, in the order of `Work.all_arms`; 0 where it is not known.

    Args:
        asked: see `Asked`.
        parts: of the images.
        budget: see `Budget`.
        given: further encoders; the features of a few images are timed.
        path: folder of the advice: what is there takes no time.
        clock: seconds.
    """
    counts = parts.labels_per_class
    scratch = scratch_fits(asked, parts) * budget.scratch_steps * budget.scratch_seconds
    seen, expected = torch.empty(0, dtype=torch.int64), list[float]()
    arms = [PIXELS, RANDOM, *[each.arm for each in given], SCRATCH, *asked.arms]
    there = {(arm.key, s): _is_measured(path, arm, s, counts) for s in range(asked.seeds) for arm in arms}
    timed = [all(there[each.arm.key, seed] for seed in range(asked.seeds)) for each in given]
    each_image = {
        each.arm.key: 0.0 if done else _image_seconds(each, parts, clock)
        for each, done in zip(given, timed, strict=True)
    }
    for seed in range(asked.seeds):
        # Features are computed once: a later seed needs those of its own draws alone.
        rows = parts.rows_of(seed, asked.draws)
        new = int((~torch.isin(rows, seen)).sum())
        seen = torch.cat([seen, rows])
        own = {key: new * seconds for key, seconds in each_image.items()}
        own |= {SCRATCH.key: scratch} | {arm.key: budget.seconds(arm.key) for arm in asked.arms}
        expected += [_DONE if there[arm.key, seed] else own.get(arm.key, 0.0) for arm in arms]
    return expected


def _image_seconds(each: Given, parts: Parts, clock: Callable[[], float]) -> float:
    rows = parts.test[:_TIMED]
    for _ in range(2):  # the first time is longer
        begun = clock()
        FeatureTable(each.store, {each.arm.key: each.pretrained.encoder}).at(each.arm.key, rows)
        took = clock() - begun
    return took / len(rows)


def _cell_file(path: Path, arm: Arm, seed: int, count: int) -> Path:
    return path / CELLS / f"{arm.key}-s{seed}-{count}.json"


def _is_measured(path: Path, arm: Arm, seed: int, counts: Sequence[int]) -> bool:
    return all(_cell_file(path, arm, seed, count).exists() for count in counts)


@dataclass(eq=False)
class Work:
    """Trains and measures every arm.

    Args:
        asked: see `Asked`.
        config: that all arms share.
        parts: of the images.
        budget: see `Budget`.
        path: folder of the advice.
        given: further encoders.
        jobs: is told how far each is.
        stop: asked several times a second.
        failed: keys of the arms whose loss was not finite.
    """

    asked: Asked
    config: Config
    parts: Parts
    budget: Budget
    path: Path
    given: Sequence[Given]
    jobs: Jobs
    stop: Callable[[], bool]
    failed: set[str] = field(default_factory=set, init=False)
    _seconds: dict[str, list[float]] = field(default_factory=dict, init=False)
    _cells: dict[str, dict[int, list[AdviceCell]]] = field(default_factory=dict, init=False)

    def all_arms(self) -> list[MeasuredArm]:
        """Train and measure, seed by seed, so that a cut leaves whole seeds."""
        tables = {
            each.arm.key: FeatureTable(each.store, {each.arm.key: each.pretrained.encoder}) for each in self.given
        }
        for seed in range(self.asked.seeds):
            pixels = FeatureTable(self.parts.store, {PIXELS.key: None})
            self._linear(PIXELS, seed, pixels)
            config = override(self.config, [f"trainer.seed={seed}"])
            fresh = build_fresh_encoder(config, self.parts.store.channels, self.parts.store.image_size).eval()
            self._linear(RANDOM, seed, FeatureTable(self.parts.store, {RANDOM.key: fresh}))
            for each in self.given:
                self._linear(each.arm, seed, tables[each.arm.key])
            self._scratch(seed)
            for arm in self.asked.arms:
                self._pretrained(arm, seed)
        return [self._measured(arm) for arm in self._order() if arm.key not in self.failed]

    def _order(self) -> list[Arm]:
        return [*CONTROLS, *self.asked.arms, *[each.arm for each in self.given]]

    def _measured(self, arm: Arm) -> MeasuredArm:
        note = next((each.note for each in self.given if each.arm == arm), "")
        if arm.kind is not Kind.PRE_TRAINED:
            return MeasuredArm(arm, self._cells[arm.key], note=note)
        took = self._seconds[arm.key]
        return MeasuredArm(arm, self._cells[arm.key], self.budget.steps[arm.key], sum(took) / len(took), note)

    def _linear(self, arm: Arm, seed: int, table: FeatureTable) -> None:
        what = f"{arm.label}, seed {seed}"
        self.jobs.begin(what)
        earlier = [
            self._cell(arm, seed, count, lambda n: self._linear_cell(arm, table, n, seed)) for count in self._counts
        ]
        self.jobs.end(what, earlier=all(earlier))

    def _linear_cell(self, arm: Arm, table: FeatureTable, count: int, seed: int) -> AdviceCell:
        self._go_on()
        return linear_cell(lambda rows: table.at(arm.key, rows), self.parts, count, seed, self.asked.draws)

    def _scratch(self, seed: int) -> None:
        what = f"{SCRATCH.label}, seed {seed}"
        self.jobs.begin(what)
        run = from_scratch(self.config, self.parts.store, seed=seed, steps=self.budget.scratch_steps)
        stop = self._stop_within(what, scratch_fits(self.asked, self.parts))

        def cell(count: int) -> AdviceCell:
            made = scratch_cell(run, self.parts, count, seed, self.asked.draws, stop)
            if made is None:
                raise runs.TrainingStopped
            return made

        earlier = [self._cell(SCRATCH, seed, count, cell) for count in self._counts]
        self.jobs.end(what, earlier=all(earlier))

    def _pretrained(self, arm: Arm, seed: int) -> None:
        what, steps = f"{arm.label}, seed {seed}", self.budget.steps[arm.key]
        self.jobs.begin(what)
        if arm.key in self.failed:
            self.jobs.end(what, earlier=True)
            return
        folder = RunFolder(self.path / f"{arm.key}-s{seed}")
        path, there = folder.path, folder.encoder.exists()
        config, stop = run_config(self.config, arm, seed, steps), self._stop_within(what, steps)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", HealthWarning)  # alarms are in metrics.jsonl
                if is_resumable(path, config):
                    run = runs.load_run(path) if there else runs.resume(path, stop=stop)
                else:
                    run = runs.pretrain(config, path, store=self.parts.store, stop=stop)
        except TrainingDiverged:
            self.failed.add(arm.key)
            self.jobs.end(what)
            return
        self._seconds.setdefault(arm.key, []).append(run.seconds)
        table = FeatureTable(self.parts.store, {arm.key: run.encoder})
        for count in self._counts:
            self._cell(arm, seed, count, lambda n: self._linear_cell(arm, table, n, seed))
        self.jobs.end(what, earlier=there)

    def _stop_within(self, what: str, times: int) -> Callable[[], bool]:
        """`stop` for a job that asks so many times; with every question the job is said to be that much further."""
        asked = itertools.count()

        def stop() -> bool:
            self.jobs.within(what, min(1.0, next(asked) / times))
            return self.stop()

        return stop

    @property
    def _counts(self) -> tuple[int, ...]:
        return self.parts.labels_per_class

    def _cell(self, arm: Arm, seed: int, count: int, make: Callable[[int], AdviceCell]) -> bool:
        """Note a cell; whether an earlier call had made it."""
        file = _cell_file(self.path, arm, seed, count)
        earlier = file.exists()
        if earlier:
            try:
                cell = AdviceCell.from_json(read_json(file))
            except (KeyError, TypeError, ValueError) as error:
                raise InputError(f"{file} is damaged ({error}); delete it, and it is measured again") from error
        else:
            cell = make(count)
            with writing(file):
                write_atomically(file, json.dumps(cell.to_json()).encode())
        self._cells.setdefault(arm.key, {}).setdefault(count, []).append(cell)
        return earlier

    def _go_on(self) -> None:
        if self.stop():
            raise runs.TrainingStopped

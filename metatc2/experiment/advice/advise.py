"""Is pre-training worth it on these images, and which? All arms under one budget, and one sentence a number of labels."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metatc2.data import ImageStore
from metatc2.errors import InputError
from metatc2.experiment import run as runs
from metatc2.experiment.advice.arms import CONTROLS, PIXELS, RANDOM, SCRATCH, Arm, Kind
from metatc2.experiment.advice.budget import Budget, derive, scratch_fits
from metatc2.experiment.advice.measure import Cell, from_scratch, linear_cell, scratch_cell
from metatc2.experiment.advice.parts import Parts, cut
from metatc2.experiment.advice.plan import CELLS, TIMED, Plan, read_plan, require_same
from metatc2.experiment.advice.progress import Jobs, Progress
from metatc2.experiment.advice.rule import AdviceRow, Measured, Verdict, rows_and_verdicts, to_json
from metatc2.experiment.advice.settings import DRAWS, SEEDS, Asked, base_config, fitted, run_config
from metatc2.experiment.auto_resume import is_resumable
from metatc2.experiment.build import build_data, build_fresh_encoder
from metatc2.experiment.config import Config, LabeledEpisode, override
from metatc2.experiment.load import load_pretrained
from metatc2.experiment.pretrained import Pretrained
from metatc2.experiment.targets import Sources
from metatc2.io.files import check_writable, write_atomically, writing
from metatc2.io.reading import read_json
from metatc2.io.writing import json_text
from metatc2.training.outer_step import TrainingDiverged
from metatc2.training.records import HealthWarning
from metatc2.training.run_folder import RunFolder
from metatc2.transfer import FeatureTable, parse_target

ADVICE = "advice.json"


@dataclass(frozen=True)
class Advice:
    """What was measured, and what follows from it.

    Args:
        source: the images.
        rows: see `AdviceRow`, by number of labels and then by arm.
        verdicts: see `Verdict`, one a number of labels.
        parts: how the images were cut, and how many there are of each part.
        notes: what to know besides, as sentences without their full stop.
        folder: of the runs.
    """

    source: str
    rows: tuple[AdviceRow, ...]
    verdicts: tuple[Verdict, ...]
    parts: dict[str, Any]
    notes: tuple[str, ...]
    folder: Path

    @property
    def sentence(self) -> str:
        """One clause a number of labels."""
        text = "; ".join(verdict.sentence for verdict in self.verdicts)
        return f"{text[:1].upper()}{text[1:]}."

    def to_json(self) -> dict[str, Any]:
        """As a mapping that JSON holds."""
        return {
            "source": self.source,
            "sentence": self.sentence,
            "verdicts": [to_json(verdict) for verdict in self.verdicts],
            "rows": [to_json(row) for row in self.rows],
            "parts": self.parts,
            "notes": list(self.notes),
        }


def advise(
    source: str,
    folder: Path | str,
    *,
    labels_per_class: Sequence[int] = (),
    minutes: float | None = None,
    steps: int | None = None,
    encoders: Sequence[str] = (),
    methods: Sequence[str] = (),
    seeds: int = SEEDS,
    draws: int = DRAWS,
    assignments: Sequence[str] = (),
    tell: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Advice:
    """Measure controls, pre-training methods and further encoders on a user's own images, from a few labels.

    Pre-training sees the training part of the images, without labels; labels are drawn from it; arms are chosen on validation
    images and measured on test images, which no training sees. Runs, measurements and the plan are kept in the folder, and a
    call that was cut goes on with what is there.

    Args:
        source: ``SOURCE[:SPLIT]``, such as ``folder:my/photos``.
        folder: new, empty, or of the same advice.
        labels_per_class: by default 1, 5 and 20, as far as every class has them.
        minutes: for all training together, by default 30; the steps of each arm follow from the time of a step here.
        steps: instead, of every training.
        encoders: further ones, see `metatc2.experiment.load.load_pretrained`.
        methods: names of `metatc2.experiment.advice.arms.METHODS`; by default all.
        seeds: of pre-training, each with draws of labels of its own; the same for all arms.
        draws: of labels for each seed and number of labels.
        assignments: keys of the configuration that all runs have otherwise, as with ``--set``.
        tell: gets a `Progress` whenever something has changed.
        stop: asked several times a second.
        clock: seconds.

    Raises:
        InputError: if the images cannot answer, an option would do nothing, or the folder holds something else. Nothing is
            trained then.
        TrainingStopped: if `stop` said so.
    """
    asked = Asked.checked(source, labels_per_class, minutes, steps, seeds, draws, methods, encoders, assignments)
    path = Path(folder)
    plan = read_plan(path)
    check_writable(path, "name a folder of yours with --folder")
    config = base_config(asked)
    store = build_data(config)
    parts = cut(store, asked)
    config = fitted(config, len(parts.training), asked)
    config = override(config, [f"data.image_size={store.image_size}", f"data.channels={store.channels}"])
    given = [_given(name, i, config, asked, store) for i, name in enumerate(asked.encoders)]
    stopped = stop or (lambda: False)
    with RunFolder(path).owned(), _resumable(path):
        checksums = {each.arm.label: each.sha256 for each in given}
        if plan is None:
            budget = derive(asked, config, parts, path / TIMED, stopped, clock)
            plan = Plan(asked.to_json(), store.checksum(), checksums, budget)
            plan.write(path)
        require_same(plan, asked, store.checksum(), checksums, path)
        work = _Work(asked, config, parts, plan.budget, path, given, tell or (lambda progress: None), stopped, clock)
        measured = work.all_arms()
        rows, verdicts = rows_and_verdicts(
            measured, parts.labels(parts.test), per_class=store.metric == "mean per class"
        )
        advice = Advice(source, tuple(rows), tuple(verdicts), _about(parts), tuple(_notes(work, measured)), path)
        with writing(path / ADVICE):
            write_atomically(path / ADVICE, json_text(advice.to_json()).encode())
    return advice


@contextmanager
def _resumable(path: Path) -> Iterator[None]:
    """What a stop says: the same command goes on."""
    try:
        yield
    except runs.TrainingStopped as error:
        raise runs.TrainingStopped(f"what was done is in {path}; the same command goes on") from error


@dataclass(frozen=True, eq=False)
class _Given:
    """A further encoder, and the images as it takes them."""

    arm: Arm
    pretrained: Pretrained
    store: ImageStore
    sha256: str
    note: str


def _given(name: str, number: int, config: Config, asked: Asked, store: ImageStore) -> _Given:
    pretrained = load_pretrained(name)
    own = Sources.of(config.data).store(parse_target(asked.source)[0], pretrained)
    if len(own) != len(store) or not bool((own.labels == store.labels).all()):
        raise InputError(f"advise: {asked.source} holds other images at the size of {name}; see which cannot be read")
    seen = pretrained.seen is not None and pretrained.seen.same_source(own)
    note = "learned from this source, so it may have seen the test images" if seen else ""
    return _Given(Arm(f"given-{number}", name, Kind.GIVEN), pretrained, own, pretrained.sha256, note)


class _Work:
    """Every job of the advice, in order; what an earlier call has done is read and not done again."""

    def __init__(
        self,
        asked: Asked,
        config: Config,
        parts: Parts,
        budget: Budget,
        path: Path,
        given: Sequence[_Given],
        tell: Callable[[Progress], None],
        stop: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        self.asked, self.config, self.parts, self.budget, self.path = asked, config, parts, budget, path
        self.given, self.stop, self.failed = given, stop, set[str]()
        self.seconds: dict[str, list[float]] = {}
        self.cells: dict[str, dict[int, list[Cell]]] = {}
        fixed = len(given) + 2
        scratch = scratch_fits(asked, parts) * budget.scratch_steps * budget.scratch_seconds
        each = [*[0.0] * fixed, scratch, *[budget.seconds(arm.key) for arm in asked.arms]]
        self.jobs = Jobs(each * asked.seeds, tell, clock)

    def all_arms(self) -> list[Measured]:
        """Train and measure, seed by seed, so that a cut leaves whole seeds."""
        for seed in range(self.asked.seeds):
            pixels = FeatureTable(self.parts.store, {PIXELS.key: None})
            self._linear(PIXELS, seed, pixels)
            config = override(self.config, [f"trainer.seed={seed}"])
            fresh = build_fresh_encoder(config, self.parts.store.channels, self.parts.store.image_size).eval()
            self._linear(RANDOM, seed, FeatureTable(self.parts.store, {RANDOM.key: fresh}))
            for each in self.given:
                self._linear(each.arm, seed, FeatureTable(each.store, {each.arm.key: each.pretrained.encoder}))
            self._scratch(seed)
            for arm in self.asked.arms:
                self._pretrained(arm, seed)
        return [self._measured(arm) for arm in self._order() if arm.key not in self.failed]

    def _order(self) -> list[Arm]:
        return [*CONTROLS, *self.asked.arms, *[each.arm for each in self.given]]

    def _measured(self, arm: Arm) -> Measured:
        note = next((each.note for each in self.given if each.arm == arm), "")
        if arm.kind is not Kind.PRE_TRAINED:
            return Measured(arm, self.cells[arm.key], note=note)
        took = self.seconds[arm.key]
        return Measured(arm, self.cells[arm.key], self.budget.steps[arm.key], sum(took) / len(took), note)

    def _linear(self, arm: Arm, seed: int, table: FeatureTable) -> None:
        what = f"{arm.label}, seed {seed}"
        self.jobs.begin(what)
        earlier = [
            self._cell(arm, seed, count, lambda n: self._linear_cell(arm, table, n, seed)) for count in self._counts
        ]
        self.jobs.end(what, earlier=all(earlier))

    def _linear_cell(self, arm: Arm, table: FeatureTable, count: int, seed: int) -> Cell:
        self._go_on()
        return linear_cell(lambda rows: table.at(arm.key, rows), self.parts, count, seed, self.asked.draws)

    def _scratch(self, seed: int) -> None:
        what = f"{SCRATCH.label}, seed {seed}"
        self.jobs.begin(what)
        run = from_scratch(self.config, self.parts.store, seed=seed, steps=self.budget.scratch_steps)
        fits, done = scratch_fits(self.asked, self.parts), 0

        def told() -> bool:
            nonlocal done
            self.jobs.within(what, done / fits)
            done += 1
            return self.stop()

        def cell(count: int) -> Cell:
            made = scratch_cell(run, self.parts, count, seed, self.asked.draws, told)
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
        path, begun = self.path / f"{arm.key}-s{seed}", RunFolder(self.path / f"{arm.key}-s{seed}")
        config = run_config(self.config, arm, seed, steps)
        done = 0

        def told() -> bool:
            nonlocal done
            self.jobs.within(what, min(1.0, done / steps))
            done += 1
            return self.stop()

        there = begun.encoder.exists()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", HealthWarning)  # alarms are in metrics.jsonl
                if is_resumable(path, config):
                    run = runs.load_run(path) if there else runs.resume(path, stop=told)
                else:
                    run = runs.pretrain(config, path, store=self.parts.store, stop=told)
        except TrainingDiverged:
            self.failed.add(arm.key)
            self.jobs.end(what)
            return
        self.seconds.setdefault(arm.key, []).append(run.seconds)
        table = FeatureTable(self.parts.store, {arm.key: run.encoder})
        for count in self._counts:
            self._cell(arm, seed, count, lambda n: self._linear_cell(arm, table, n, seed))
        self.jobs.end(what, earlier=there)

    @property
    def _counts(self) -> tuple[int, ...]:
        return self.parts.labels_per_class

    def _cell(self, arm: Arm, seed: int, count: int, make: Callable[[int], Cell]) -> bool:
        """Note a cell; whether an earlier call had made it."""
        file = self.path / CELLS / f"{arm.key}-s{seed}-{count}.json"
        earlier = file.exists()
        if earlier:
            try:
                cell = Cell.from_json(read_json(file))
            except (KeyError, TypeError, ValueError) as error:
                raise InputError(f"{file} is damaged ({error}); delete it, and it is measured again") from error
        else:
            cell = make(count)
            with writing(file):
                write_atomically(file, json.dumps(cell.to_json()).encode())
        self.cells.setdefault(arm.key, {}).setdefault(count, []).append(cell)
        return earlier

    def _go_on(self) -> None:
        if self.stop():
            raise runs.TrainingStopped


def _about(parts: Parts) -> dict[str, Any]:
    return {
        "how": parts.how,
        "training": len(parts.training),
        "validation": len(parts.validation),
        "test": len(parts.test),
        "classes": len(parts.labels(parts.training).unique()),
        "image size": parts.store.image_size,
        "metric": parts.store.metric,
    }


def _notes(work: _Work, measured: Sequence[Measured]) -> list[str]:
    episode, notes, parts = work.config.episode, list[str](), work.parts
    assert not isinstance(episode, LabeledEpisode)
    batch = episode.batch
    passes = [each.steps * batch / len(parts.training) for each in measured if each.steps is not None]
    if passes:
        lengths = [each.steps for each in measured if each.steps is not None]
        many = f"{min(lengths)} to {max(lengths)}" if min(lengths) < max(lengths) else f"{lengths[0]}"
        notes.append(
            f"every pre-training had {many} steps of {batch} images, {min(passes):.1f} passes over the {len(parts.training)} "
            "training images or more; longer ones may say otherwise"
        )
    if parts.left_out:
        least = max(parts.labels_per_class)
        left = " and ".join(map(str, parts.left_out))
        notes.append(
            f"{left} labels a class are left out, since a class has fewer training images; {least} are the most"
        )
    for each in work.given:
        if each.note:
            notes.append(f"{each.arm.label} {each.note}, and cannot be chosen")
        if (each.store.image_size, each.store.channels) != (parts.store.image_size, parts.store.channels):
            size = each.store.image_size
            notes.append(f"{each.arm.label} saw images of {size} pixels, the others of {parts.store.image_size}")
    for key in sorted(work.failed):
        label = next(arm.label for arm in work.asked.arms if arm.key == key)
        notes.append(f"{label} is left out, since its loss was not finite (see {work.path / key}-s*/failure)")
    return notes

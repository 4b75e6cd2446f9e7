"""Is pre-training worth it on these images, and which? All arms under one budget, and one sentence a number of labels."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from metatc2.data import ImageStore
from metatc2.errors import InputError
from metatc2.experiment import run as runs
from metatc2.experiment.advice.arms import METHODS, Kind
from metatc2.experiment.advice.budget import derive
from metatc2.experiment.advice.given import load_given
from metatc2.experiment.advice.notes import notes_on
from metatc2.experiment.advice.parts import Parts, cut
from metatc2.experiment.advice.plan import TIMED, Plan, joined, read_plan, require_same
from metatc2.experiment.advice.progress import AdviceProgress, Jobs
from metatc2.experiment.advice.rule import AdviceRow, Verdict, rows_and_verdicts, to_json
from metatc2.experiment.advice.settings import DRAWS, SEEDS, Asked, base_config, fitted, run_config, task_of
from metatc2.experiment.advice.typed import pretrain_command
from metatc2.experiment.advice.work import Work, expected_seconds
from metatc2.experiment.build import build_data
from metatc2.experiment.config import Config, override
from metatc2.experiment.starting_weights import read_start
from metatc2.io.files import check_writable, write_atomically, writing
from metatc2.io.suggest import command
from metatc2.io.writing import json_text
from metatc2.training.run_folder import RunFolder
from metatc2.transfer import parse_target

ADVICE = "advice.json"
#: Times the steps of advice, in what is proposed to go on with.
_LONGER = 4


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
        commands: what pre-trains anew as each arm was under its first seed, by the label of the arm.
    """

    source: str
    rows: tuple[AdviceRow, ...]
    verdicts: tuple[Verdict, ...]
    parts: dict[str, Any]
    notes: tuple[str, ...]
    folder: Path
    commands: Mapping[str, str] = field(default_factory=dict)

    @property
    def sentence(self) -> str:
        """One clause a number of labels."""
        text = "; ".join(verdict.sentence for verdict in self.verdicts)
        return f"{text[:1].upper()}{text[1:]}."

    @property
    def next_step(self) -> str:
        """Where the encoder is, of those pre-trained here, that validation images prefer with the most labels; and how it is
        trained longer."""
        best = self._best
        arm = next((arm for arm in METHODS.values() if arm.label == best), None)
        steps = next((row.steps for row in self.rows if row.arm == best), None)
        if arm is None or steps is None:
            return ""
        run = self.folder / f"{arm.key}-s0"
        longer = command("pretrain", "--resume", run, "--steps", str(_LONGER * steps))
        return f"{best} is in {run}, the other seeds beside it. Trained longer: {longer}"

    @property
    def pretrain(self) -> str:
        """The command that pre-trains that encoder from the start, on the same images."""
        return self.commands.get(self._best, "")

    @property
    def transfer(self) -> str:
        """The command that measures such a run on the same test images; empty where there is no such command.

        Classes are allowed to be seen: it learns from images of all of them, none of which is a test image.
        """
        if not self.pretrain:
            return ""
        source, split = parse_target(self.source)
        return command("transfer", "RUN", "--to", f"{source}:{split or 'all'}", "--protocol", "linear", "--allow-seen")

    @property
    def _best(self) -> str:
        most = max(row.labels_per_class for row in self.rows)
        own = [row for row in self.rows if row.labels_per_class == most and row.kind == Kind.PRE_TRAINED.value]
        return max(own, key=lambda row: row.validation).arm if own else ""

    def to_json(self) -> dict[str, Any]:
        """As a mapping that JSON holds."""
        return {
            "source": self.source,
            "sentence": self.sentence,
            "next_step": self.next_step,
            "pretrain": self.pretrain,
            "transfer": self.transfer,
            "commands": dict(self.commands),
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
    download: bool = False,
    without: Sequence[str] = (),
    tell: Callable[[AdviceProgress], None] | None = None,
    stop: Callable[[], bool] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Advice:
    """Measure controls, pre-training methods and further encoders on a user's own images, from a few labels.

    Pre-training sees the training part of the images, without labels; labels are drawn from it; arms are chosen on validation
    images and measured on test images, which no training sees. Runs, measurements and the plan are kept in the folder, and a
    call that was cut goes on with what is there.

    Args:
        source: ``SOURCE[:SPLIT]``, such as ``folder:my/photos``.
        folder: new, empty, or of the same advice; encoders that are new to it are measured beside what is there.
        labels_per_class: by default 1, 5 and 20, as far as every class has them.
        minutes: for all training together, by default 30; the steps of each arm follow from the time of a step here.
        steps: instead, of every training.
        encoders: further ones, see `metatc2.experiment.load.load_pretrained`; those of an earlier call on the folder stay.
        methods: names of `metatc2.experiment.advice.arms.METHODS`; by default all.
        seeds: of pre-training, each with draws of labels of its own; the same for all arms.
        draws: of labels for each seed and number of labels.
        assignments: keys of the configuration that all runs have otherwise, as with ``--set``.
        download: allow fetching weights of encoders that are not on this machine.
        without: encoders of an earlier call on the folder that are left out from now on.
        tell: gets an `AdviceProgress` whenever something has changed.
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
    if plan is None and without:
        raise InputError(f"advise: --without: {path} holds no advice yet that {without[0]} could be taken out of")
    if plan is not None:
        asked, plan = joined(plan, asked, path, without), plan.without(without)
    config = base_config(asked)
    told = tell or (lambda progress: None)
    told(AdviceProgress("reading images and timing steps", 0, asked.jobs, 0.0, None, finished=False))
    store = build_data(config)
    parts = cut(store, asked)
    config = fitted(config, len(parts.training), asked)
    config = override(config, [f"data.image_size={store.image_size}", f"data.channels={store.channels}"])
    _require_unseen(config, store, RunFolder(path))
    given = [
        load_given(name, config, asked, store, earlier=name not in encoders, download=download)
        for name in asked.encoders
    ]
    stopped = stop or (lambda: False)
    with _no_trace(path), RunFolder(path).owned(), _resumable(path):
        checksums = {each.arm.label: each.pretrained.sha256 for each in given}
        if plan is None:
            budget = derive(asked, config, parts, path / TIMED, stopped, clock)
            plan = Plan(asked.to_json(), store.checksum(), checksums, budget)
            plan.write(path)
        require_same(plan, asked, store.checksum(), checksums, path)
        if without or plan.encoders != checksums:
            plan = replace(plan, asked=asked.to_json(), encoders=checksums)
            plan.write(path)
        jobs = Jobs(expected_seconds(asked, parts, plan.budget, given, path, clock), told, clock)
        work = Work(asked, config, parts, plan.budget, path, given, jobs, stopped)
        measured = work.all_arms()
        rows, verdicts = rows_and_verdicts(
            measured, parts.labels(parts.test), per_class=store.metric == "mean per class"
        )
        commands = {
            arm.label: pretrain_command(task_of(asked), run_config(config, arm, 0, plan.budget.steps[arm.key]))
            for arm in asked.arms
        }
        notes = tuple(notes_on(work, measured))
        advice = Advice(source, tuple(rows), tuple(verdicts), _about(parts), notes, path, commands)
        with writing(path / ADVICE):
            write_atomically(path / ADVICE, json_text(advice.to_json()).encode())
    return advice


def _require_unseen(config: Config, store: ImageStore, folder: RunFolder) -> None:
    """Refuse starting weights that have learned from the images that are tested on."""
    start = read_start(config, folder)
    if start is not None and start.seen.same_source(store):
        raise InputError(
            f"advise: encoder.weights = {config.encoder.weights!r} learned from {store.name}, so it may have seen the test "
            "images; start from weights of other images"
        )


@contextmanager
def _resumable(path: Path) -> Iterator[None]:
    """What a stop says: the same command goes on."""
    try:
        yield
    except runs.TrainingStopped as error:
        raise runs.TrainingStopped(f"what was done is in {path}; the same command goes on") from error


@contextmanager
def _no_trace(path: Path) -> Iterator[None]:
    """Where nothing was begun, the folder and those above it that were made for it are taken away again."""
    made = [each for each in (path, *path.parents) if not each.exists()]
    try:
        yield
    except InputError:
        for each in made:
            with suppress(OSError):
                each.rmdir()  # unless something is in it
        raise


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

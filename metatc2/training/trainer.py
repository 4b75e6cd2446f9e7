"""`Trainer`: the outer loop for any learner on any sampler."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from metatc2.episodes import Divided, Episode, FromIterable, Sampler
from metatc2.errors import InputError
from metatc2.learners import Learner, Outcome
from metatc2.ops import channels_last_parameters
from metatc2.ops.random_state import own_random_numbers
from metatc2.ops.ranks import others_alive
from metatc2.ops.replacing import refuse_uninitialized
from metatc2.training.about import agrees, another_run, plain, require_alike, versions
from metatc2.training.averaging import Average
from metatc2.training.callbacks import Callbacks
from metatc2.training.checkpoint import checkpoint_path, load_checkpoint, save_checkpoint
from metatc2.training.devices import placed
from metatc2.training.given_parts import require_parts
from metatc2.training.guarded_step import GuardedStep
from metatc2.training.loggers.registry import build_loggers
from metatc2.training.metrics_file import cut_metrics
from metatc2.training.options import TrainerOptions, plain_options
from metatc2.training.outer_step import OuterStep
from metatc2.training.own_run import OwnFiles
from metatc2.training.progress import Progress
from metatc2.training.record_logging import Logging
from metatc2.training.records import Record, Records
from metatc2.training.run_folder import RunFolder
from metatc2.training.saved_state import SavedState
from metatc2.training.validation import Validation


class Trainer:
    """Train any `Learner` on any sampler of episodes.

    Args:
        learner: `learner(episode)` must return an `Outcome`.
        sampler: anything with ``.sample()``, or an iterator of episodes. Where it also has ``state_dict`` and
            ``load_state_dict``, runs can be resumed.
        options: how to train.
        run: folder for ``metrics.jsonl`` and ``checkpoint/``; None writes nothing. While `fit` runs no other process can
            train in it. At the end it also gets ``config.toml`` and ``encoder.safetensors``, and is a run as
            ``metatc2 pretrain`` makes it: ``metatc2 transfer``, ``compare``, ``report`` and ``export`` take it.
        about: facts that a checkpoint must agree with to be resumed, e.g. ``{"fingerprint": ...}``. ``{"seed": 1}`` is also the
            run's seed, ``{"method": "mine"}`` its name in tables; by default learner and objective name it.
        show: show live progress, in log files as a line every tenth of the run and every minute; by default where standard
            error is a terminal or a notebook.
        callbacks: called while it trains, see `Callback`.
        loggers: what records go to besides: names of `metatc2.training.loggers.LOGGERS` (``"csv"``, ``"tensorboard"``,
            ``"wandb"``), which write to ``logs/`` of the run folder, or objects of Lightning's.
        validation: episodes that are not trained on, a sampler or a list: every ``validate_every`` steps the record has their
            ``val_loss`` and metrics.
        encoder: how the learner's encoder is made, for the run folder: ``"package.module:factory"``, or a registered name. Of
            encoders of this library, and of classes that need no arguments, it is found out.

    A run that is cut at any step and resumed ends in the same bits as one never cut (on CPU).

    On several devices every process makes a trainer with the same arguments. Each has its own tasks of the same episodes, and
    all take the step that one process would take with the whole of them, to rounding: learners of self-supervised tasks bring
    the features of all tasks together, of others losses and gradients are means over tasks. The first process writes files.

    >>> import torch
    >>> import metatc2 as mt
    >>> learner = mt.ProtoNet(mt.Conv4(channels=1, width=4))
    >>> x, y = torch.rand(4, 1, 16, 16), torch.tensor([0, 1, 0, 1])
    >>> records = Trainer(learner, [mt.Episode.of(x, y, x, y)] * 3, TrainerOptions(steps=3, log_every=1)).fit()
    >>> [record["step"] for record in records]
    [1, 2, 3]
    """

    def __init__(
        self,
        learner: Learner,
        sampler: Sampler | Iterable[Episode],
        options: TrainerOptions | None = None,
        *,
        run: Path | str | RunFolder | None = None,
        about: dict[str, Any] | None = None,
        show: bool | None = None,
        callbacks: Sequence[Any] = (),
        loggers: Sequence[str | Any] = (),
        validation: Any = None,
        encoder: str | None = None,
    ) -> None:
        require_parts(learner, sampler, options)
        self.options = options or TrainerOptions()
        self.sampler = sampler if hasattr(sampler, "sample") else FromIterable(sampler)
        self.about = plain(about or {})
        self.folder = run if run is None or isinstance(run, RunFolder) else RunFolder(Path(run))
        self.run = None if self.folder is None else self.folder.path
        refuse_uninitialized(learner, type(learner).__name__)
        self.fabric, self.ranks = placed(self.options.placement)
        self.show = show if self.ranks.first else False
        self.callbacks = Callbacks(callbacks)
        written = self.folder if self.ranks.first else None
        self._logging = Logging(
            build_loggers(loggers, None if self.folder is None else self.folder.logs) if self.ranks.first else ()
        )
        self._records = Records(learner, written, self._logging, speaks=self.ranks.first)
        self._own = OwnFiles(written, sampler, encoder, learner)
        self.learner = channels_last_parameters(learner.to(self.fabric.device))
        if not self.ranks.alone:
            own_random_numbers(self.ranks)
            with others_alive(self.ranks):
                require_alike(self.ranks, {**versions(), **self.about})
                self.ranks.share_state(self._tensors())
        self._episodes = Divided(self.sampler, self.ranks)
        self._outer = OuterStep(self.learner, self.options, self.fabric, self.ranks, self._last_good)
        self.groups, self.optimizers = self._outer.groups, self._outer.optimizers
        self._guarded = GuardedStep(self.folder, self.learner, self.ranks, self.options, self.about)
        self._average = Average(learner.exports().get("encoder"), self.options)
        self._validation = None if validation is None else Validation(validation, self.ranks)
        self._saved = SavedState(
            self.learner,
            self.optimizers,
            self._outer.rates,
            self._average,
            self.callbacks,
            self.sampler,
            self.ranks,
            self.fabric.device,
        )
        self.step, self.seconds = 0, 0.0
        self._at_end = False

    @property
    def history(self) -> list[Record]:
        """All records, one every `log_every` steps."""
        return self._records.all

    @property
    def encoder(self) -> nn.Module | None:
        """The encoder that is kept and measured: the learner's, or its average; None of a learner that exports none."""
        return self._average.encoder

    @property
    def epoch_steps(self) -> int:
        """Steps of a pass over the training images; 0 where that is not known."""
        return self.options.epoch_steps or int(getattr(self.sampler, "epoch_steps", 0))

    def log(self, values: Mapping[str, float]) -> None:
        """Add values to the record of this step, which is made for them if it would not be: for callbacks.

        Args:
            values: by names of theirs, such as ``"online/knn"``.
        """
        self._records.told |= {name: float(value) for name, value in values.items()}

    def end(self) -> None:
        """End training after this step, as if it was the last one: for callbacks."""
        self._at_end = True

    def fit(
        self,
        until: int | None = None,
        *,
        stop: Callable[[], bool] | None = None,
        ended: Callable[[], bool] | None = None,
        show: bool | None = None,
    ) -> list[Record]:
        """Train to the end, or up to step `until`.

        Modes are the caller's: a part of the learner that is in eval mode (a frozen batch normalization) stays in it.

        Args:
            until: where to pause; nothing is saved there but what `checkpoint_every` asks for.
            stop: asked before every step; once it says yes, a checkpoint is written (where there is a run folder) and `fit`
                returns with ``self.step`` below ``options.steps``. A run that is resumed from there ends in the same bits.
            ended: asked before the first step and after every one; once it says yes, training is at its end: the last step is
                recorded and saved as that of a whole run is.
            show: whether progress is shown; by default as the trainer was made.

        Returns:
            One record of metrics every `log_every` steps.

        Raises:
            TrainingDiverged: if the loss or a gradient is not finite.
            InputError: if another process trains in the run folder, it holds another training that was not resumed, or it
                cannot be written.
            RankLost: if one of several processes has ended or hangs.
            RanksDiffer: if these no longer have the same parameters and buffers.
        """
        with self._owned(), others_alive(self.ranks):
            if self.folder is not None and self.ranks.first:
                self.folder.require_behind(self.step)
                cut_metrics(self.folder.metrics, self.step)
            self._logging.begin({**plain_options(self.options), **self.about})
            status, self._at_end = "failed", False
            try:
                self.callbacks.call("on_start", self)
                self._fit(
                    until, stop or _never, ended or _never, self.show if show is None else show and self.ranks.first
                )
                status = "success"
            finally:
                self._logging.end(status, whole=self._at_end or self.step == self.options.steps)
                self.callbacks.call("on_end", self)
            return self.history

    def _owned(self) -> AbstractContextManager[None]:
        return self.folder.owned() if self.folder is not None and self.ranks.first else nullcontext()

    def _fit(self, until: int | None, stop: Callable[[], bool], ended: Callable[[], bool], show: bool | None) -> None:
        steps = self.options.steps
        until = steps if until is None else min(until, steps)
        started, earlier = time.perf_counter(), self.seconds
        self._records.begin()
        with Progress(steps, self.step, show=show) as progress:
            # Asked after a step and not before the next, so that the end is known while there is something to record of it.
            at_end = self._any(ended)
            while self.step < until and not at_end:
                if self._any(stop):
                    if self.run:
                        self.save()
                    break
                before = time.perf_counter()
                episode = self._episodes.sample().to(self.fabric.device)
                waited = time.perf_counter() - before
                outcome = self._learn_from(episode)
                now = time.perf_counter()
                self.seconds = earlier + now - started
                images = self.ranks.size * _images(episode)
                progress.advance(self.step, float(outcome.loss.detach()), images, now - before, waited)
                self._call_after_step(outcome)
                at_end = self._any(ended) or self._any_of(self._at_end)
                self._record(outcome, episode, progress, last=self.step == until or at_end)
                self._keep(at_end=self.step == steps or at_end)

    def _learn_from(self, episode: Episode) -> Outcome:
        self._own.look_at(self.learner, episode)
        outcome = self._guarded(self.train_step, self.step, episode)
        self.step += 1
        self._average.update(self.step)
        return outcome

    def _record(self, outcome: Outcome, episode: Episode, progress: Progress, *, last: bool) -> None:
        """A record of metrics, where this step has one."""
        validated = self._validated(last)
        due = self.step % self.options.log_every == 0 or last or validated
        if not (due or self._any_of(bool(self._records.told))):
            return
        more = {"lr": self._learning_rate(), "seconds": round(self.seconds, 3), **progress.rates(), **validated}
        record = self._records.add(self.step, self._outer.division.over_all(outcome, episode), more)
        self.callbacks.call("on_record", self, record)

    def _keep(self, *, at_end: bool) -> None:
        """Compare the processes and write what is due after this step."""
        if self.step % self.options.check_every == 0:
            self.ranks.check_same(self._tensors(), f"step {self.step}")
        every = self.options.checkpoint_every
        if self.run and ((every and self.step % every == 0) or at_end):
            self.save()
        if at_end:
            self._own.write(self.learner, self.encoder, self.options, self.about, steps=self.step, seconds=self.seconds)

    def _call_after_step(self, outcome: Outcome) -> None:
        if not self.callbacks:
            return
        self.callbacks.call("on_step", self, outcome)
        if self.epoch_steps and self.step % self.epoch_steps == 0:
            self.callbacks.call("on_epoch", self, self.step // self.epoch_steps)

    def _any_of(self, yes: bool) -> bool:
        """Whether one of the processes says yes; without callbacks none does."""
        return bool(self.callbacks) and self.ranks.any(yes)

    def _validated(self, last: bool) -> Record:
        if self._validation is None or not (last or self.step % self.options.validate_every == 0):
            return {}
        return self._validation(
            self.learner, self.encoder, self._outer.division, self.fabric.device, self.fabric.autocast()
        )

    def _any(self, asked: Callable[[], bool]) -> bool:
        """Whether one of the processes says yes."""
        return asked is not _never and self.ranks.any(asked())

    def save(self) -> Path:
        """Write a checkpoint of everything that the rest of the run depends on.

        Raises:
            InputError: if the trainer has no run folder.
        """
        if self.run is None:
            raise InputError("Trainer.save: there is no run folder; pass run=PATH to the trainer")
        assert self.folder is not None  # there is a run
        folder = self.folder

        def write() -> None:
            folder.require_there()
            save_checkpoint(folder.checkpoints, self.step, state, self.about)

        with others_alive(self.ranks):
            state = self._saved.now(self.seconds)  # to which every rank adds
            with self._owned():
                self.ranks.first_does(write)
        path = checkpoint_path(folder.checkpoints, self.step)
        self.callbacks.call("on_checkpoint", self, path)
        return path

    def resume(self, *, accept: Sequence[dict[str, Any]] = ()) -> int:
        """Continue from the run folder's last checkpoint; returns its step.

        Args:
            accept: what a checkpoint's `about` may be besides the trainer's own.

        Raises:
            InputError: if there is none, it is damaged, or it belongs to another configuration. The trainer and its learner
                are then as they were.
        """
        if self.folder is None:
            raise InputError("Trainer.resume: there is no run folder; pass run=PATH to the trainer")
        with self._owned(), others_alive(self.ranks):
            checkpoint = self.folder.latest
            require_alike(self.ranks, {"the last checkpoint": str(checkpoint)})
            if checkpoint is None:
                raise InputError(
                    f"no checkpoint in {self.folder.checkpoints}; begin at the first step: Trainer.fit() without "
                    "resume()"
                )
            step, state, about = load_checkpoint(checkpoint)
            if not any(agrees(about, own) for own in (self.about, *map(plain, accept))):
                raise InputError(another_run(checkpoint, about, self.about))
            self.seconds = self._saved.resume(state, checkpoint, self.seconds)
            self.step = step
            if self.ranks.first:
                self.history[:] = [
                    {name: value for name, value in record.items() if name != "alarms"}
                    for record in cut_metrics(self.folder.metrics, step)
                ]
        return step

    def _tensors(self) -> dict[str, Tensor]:
        """What is the same on all ranks."""
        return {name: t for name, t in self.learner.state_dict(keep_vars=True).items() if isinstance(t, Tensor)}

    def train_step(self, step: int, episode: Episode) -> Outcome:
        """One step on an episode that is already on the device; `fit` is a loop of these.

        Raises:
            TrainingDiverged: if the data, the loss or a gradient is not finite. No parameter has moved then.
        """
        return self._outer(step, episode)

    def _last_good(self) -> str:
        saved = self.folder.latest if self.folder else None
        return f"last good checkpoint: {saved or 'none was written'}"

    def _learning_rate(self) -> float:
        """Of the step that was made: by the schedule that is named, or of the first optimizer that a function made."""
        own = callable(self.options.schedule) or callable(self.options.optimizer)
        return self._outer.learning_rate if own else self.options.learning_rate(self.step - 1)


def _never() -> bool:
    return False


def _images(episode: Episode) -> int:
    return sum(int(math.prod(side.images.shape[:3])) for side in (episode.support, episode.query))

"""`Trainer`: the outer loop for any learner on any sampler."""

from __future__ import annotations

import copy
import math
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from metatc2.episodes import Divided, Episode, FromIterable, Sampler
from metatc2.errors import InputError
from metatc2.inner import InnerLoopDiverged
from metatc2.io.files import write_atomically, writing
from metatc2.io.suggest import command
from metatc2.learners import Learner, Outcome
from metatc2.objectives import collapsed
from metatc2.ops import channels_last_parameters
from metatc2.ops.random_state import own_random_numbers
from metatc2.ops.ranks import others_alive
from metatc2.ops.replacing import refuse_uninitialized
from metatc2.training.about import agrees, another_run, plain, require_alike, versions
from metatc2.training.averaging import Average
from metatc2.training.callbacks import Callbacks
from metatc2.training.checkpoint import checkpoint_path, load_checkpoint, save_checkpoint
from metatc2.training.devices import placed
from metatc2.training.division import Division
from metatc2.training.failure import Before, keep_failure, of_all_ranks
from metatc2.training.finite_data import not_finite_in
from metatc2.training.loggers.registry import build_loggers
from metatc2.training.metrics_file import append_metrics, cut_metrics
from metatc2.training.options import TrainerOptions, plain_options
from metatc2.training.outer_optimizer import LearningRates, outer_optimizer, without_decay
from metatc2.training.own_run import OwnRun, is_own
from metatc2.training.progress import Progress
from metatc2.training.random_states import random_states, set_random_states
from metatc2.training.record_logging import Logging
from metatc2.training.run_folder import RunFolder
from metatc2.training.validation import Validation

Record = dict[str, float]


class TrainingDiverged(RuntimeError):
    """The data, the loss or a gradient is not finite. The message names step, last metrics and last good checkpoint, and where
    what is needed to make the step again was kept."""


class HealthWarning(UserWarning):
    """A run goes on but something is wrong: embeddings collapse, or a learner raises an alarm."""


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
        self.options = options or TrainerOptions()
        self.sampler = sampler if hasattr(sampler, "sample") else FromIterable(sampler)
        self._given = sampler
        self.about = plain(about or {})
        self.folder = run if run is None or isinstance(run, RunFolder) else RunFolder(Path(run))
        self.run = None if self.folder is None else self.folder.path
        refuse_uninitialized(learner, type(learner).__name__)
        self.fabric, self.ranks = placed(self.options.placement)
        self.show = show if self.ranks.first else False
        self.callbacks = Callbacks(callbacks)
        self._logging = Logging(
            build_loggers(loggers, None if self.folder is None else self.folder.logs) if self.ranks.first else ()
        )
        self._division = Division(learner, self.ranks, self.options.accumulate)
        self.learner = channels_last_parameters(learner.to(self.fabric.device))
        if not self.ranks.alone:
            own_random_numbers(self.ranks)
            with others_alive(self.ranks):
                require_alike(self.ranks, {**versions(), **self.about})
                self.ranks.share_state(self._tensors())
        self._episodes = Divided(self.sampler, self.ranks)
        self.groups = learner.groups()
        spared = without_decay(self.learner)
        self.optimizers = [outer_optimizer(group, self.options, spared) for group in self.groups]
        self._rates = [
            LearningRates(optimizer, group, self.options)
            for optimizer, group in zip(self.optimizers, self.groups, strict=True)
        ]
        self._average = Average(learner.exports().get("encoder"), self.options)
        self._validation = None if validation is None else Validation(validation, self.ranks)
        self._encoder_made_by = encoder
        self._own: OwnRun | None = None
        self._looked = False
        self.step, self.seconds = 0, 0.0
        self.history: list[Record] = []
        self._told: Record = {}
        self._at_end = False

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
        self._told |= {name: float(value) for name, value in values.items()}

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
        warned: set[str] = set()
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
                self._look_at(episode)
                outcome = self._step(episode)
                self.step += 1
                self._average.update(self.step)
                now = time.perf_counter()
                self.seconds = earlier + now - started
                images = self.ranks.size * _images(episode)
                progress.advance(self.step, float(outcome.loss.detach()), images, now - before, waited)
                self._call_after_step(outcome)
                at_end = self._any(ended) or self._any_of(self._at_end)
                last = self.step == until or at_end
                validated = self._validated(last)
                if self.step % self.options.log_every == 0 or last or validated or self._any_of(bool(self._told)):
                    self._record(self._division.over_all(outcome, episode), progress, warned, validated)
                if self.step % self.options.check_every == 0:
                    self.ranks.check_same(self._tensors(), f"step {self.step}")
                every = self.options.checkpoint_every
                if self.run and ((every and self.step % every == 0) or self.step == steps or at_end):
                    self.save()
                if self.step == steps or at_end:
                    self._keep()

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
        return self._validation(self.learner, self.encoder, self._division, self.fabric.device, self.fabric.autocast())

    def _look_at(self, episode: Episode) -> None:
        """Before the first step: what the run folder will say of this training, where no command wrote it."""
        if self.folder is None or self._own is not None or not self.ranks.first or self._looked:
            return
        self._looked = True
        if is_own(self.folder.config):
            encoder = self.learner.exports().get("encoder")
            self._own = OwnRun.of(encoder, self._given, episode, self._encoder_made_by)

    def _keep(self) -> None:
        """After the last step: make the run folder one that commands read."""
        encoder = self.encoder
        if self._own is None or self.folder is None or encoder is None:
            return
        self.folder.require_there()
        made = self._own.files(self.learner, encoder, self.options, self.about, steps=self.step, seconds=self.seconds)
        for name, content in made.items():
            with writing(self.folder.path / name):
                write_atomically(self.folder.path / name, content)

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
            state = self._state()  # to which every rank adds
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
            if state.get("sampler") is None or not hasattr(self.sampler, "load_state_dict"):
                raise InputError(
                    f"{type(self.sampler).__name__} cannot be resumed: it would start its episodes anew; give it state_dict "
                    "and load_state_dict, or train without interruption"
                )
            before = copy.deepcopy(self._state())
            try:
                self._load(state)
            except (InputError, *_UNFIT) as error:
                self._load(before)
                if isinstance(error, InputError):
                    raise
                raise InputError(
                    f"checkpoint {checkpoint} does not fit this learner, its optimizers or its sampler: {_one_line(error)}; "
                    "resume with those it was written with"
                ) from error
            self.step = step
            if self.ranks.first:
                self.history = [
                    {name: value for name, value in record.items() if name != "alarms"}
                    for record in cut_metrics(self.folder.metrics, step)
                ]
        return step

    def _state(self) -> dict[str, Any]:
        return {
            "learner": self.learner.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "sampler": self.sampler.state_dict() if hasattr(self.sampler, "state_dict") else None,
            "seconds": self.seconds,
            **self._added_state(),
            **random_states(self.ranks, self.fabric.device),
        }

    def _added_state(self) -> dict[str, Any]:
        """Of schedulers, the average and callbacks, where there are any."""
        average = self._average.model
        added = {
            "schedulers": [rates.state_dict() for rates in self._rates] if callable(self.options.schedule) else [],
            "average": {} if average is None else average.state_dict(),
            "callbacks": self.callbacks.state_dict(),
        }
        return {name: state for name, state in added.items() if state}

    def _tensors(self) -> dict[str, Tensor]:
        """What is the same on all ranks."""
        return {name: t for name, t in self.learner.state_dict(keep_vars=True).items() if isinstance(t, Tensor)}

    def _load(self, state: dict[str, Any]) -> None:
        seconds = float(state["seconds"])
        if not (math.isfinite(seconds) and seconds >= 0):
            raise ValueError(f"seconds = {seconds}")
        self.learner.load_state_dict(state["learner"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        if callable(self.options.schedule):
            for rates, saved in zip(self._rates, state["schedulers"], strict=True):
                rates.load_state_dict(saved)
        if self._average.model is not None:
            self._average.model.load_state_dict(state["average"])
        self.callbacks.load_state_dict(state.get("callbacks", {}))
        if state["sampler"] is not None and hasattr(self.sampler, "load_state_dict"):
            self.sampler.load_state_dict(state["sampler"])
        set_random_states(state, self.ranks, self.fabric.device)
        self.seconds = seconds

    def _step(self, episode: Episode) -> Outcome:
        """`train_step`; where it is not finite, what is needed to make it again is kept in the run folder.

        That is the whole episode, also of several processes: a replay needs one alone.
        """
        if self.folder is None:
            return self.train_step(self.step, episode)
        before = Before.of(self.learner)
        try:
            return self.train_step(self.step, episode)
        except TrainingDiverged as error:
            whole = of_all_ranks(episode, self.ranks)
            # The others wait: a launcher ends all processes when one has ended.
            said = self.ranks.all(self._keep_failure(before, whole, str(error)) if self.ranks.first else "")[0]
            raise TrainingDiverged(f"{error}; {said}") from error

    def _keep_failure(self, before: Before, episode: Episode, said: str) -> str:
        """What is said of it."""
        folder = cast(RunFolder, self.folder)
        try:
            folder.require_there()
            length = self.options.length_at(self.step)
            kept = keep_failure(folder.failure, self.step, length, self.learner, before, episode, said, self.about)
        except (InputError, TypeError) as reason:
            return f"the step could not be kept ({reason})"
        again = command("replay", folder.path) if folder.config.exists() else "metatc2.training.replay"
        return f"{kept} holds this step, and {again} makes it again"

    def train_step(self, step: int, episode: Episode) -> Outcome:
        """One step on an episode that is already on the device; `fit` is a loop of these.

        Raises:
            TrainingDiverged: if the data, the loss or a gradient is not finite. No parameter has moved then.
        """
        where = not_finite_in(episode)
        if self.ranks.any(where is not None):  # what one alone knows all must know before they wait for each other
            what = "those of another rank" if where is None else where
            raise TrainingDiverged(f"step {step + 1}: the data are not finite: {what}; {self._last_good()}")
        self.learner.begin_step(step, self.options.length_at(step))
        for rates in self._rates:
            rates.before(step)
        with self._division.within():
            outcome = self._forward_and_step(step, episode)
            self.learner.end_step()
        return outcome

    def _forward_and_step(self, step: int, episode: Episode) -> Outcome:
        outcome: Outcome | None = None
        failed: Exception | None = None
        # What one process alone meets before features are brought together ends it, and the others notice.
        raised = _DIVERGES if self.learner.gathers else (*_DIVERGES, InputError)
        try:
            with self.fabric.autocast():
                outcome = self.learner(episode)
        except raised as error:
            failed = error
        finite = outcome is not None and bool(torch.isfinite(outcome.loss))
        if self.ranks.any(not finite):
            if isinstance(failed, InputError):
                raise failed
            if failed is not None:
                raise TrainingDiverged(f"step {step + 1}: {failed}; {self._last_good()}") from failed
            if outcome is None or finite:
                raise TrainingDiverged(f"step {step + 1}: the loss of another rank is not finite; {self._last_good()}")
            raise self._diverged("the loss", outcome)
        assert outcome is not None  # it is finite
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        weight = self._division.weight(episode)
        try:
            self.fabric.backward(outcome.loss if weight is None else outcome.loss * weight)
        except _DIVERGES as error:
            failed = error
        if self.ranks.any(failed is not None):
            said = failed or "the gradient of another rank is not finite"
            raise TrainingDiverged(f"step {step + 1}: {said}; {self._last_good()}") from failed
        self.ranks.mean_gradients(p for group in self.groups for p in group.parameters)
        limit = self.options.clip or math.inf
        norms = [nn.utils.clip_grad_norm_(group.parameters, limit) for group in self.groups]
        # All of them before any optimizer moves: what is kept of a step that failed is the state before it.
        for group, norm in zip(self.groups, norms, strict=True):
            if not bool(torch.isfinite(norm)):
                raise self._diverged(f"the gradient of {group.name!r}", outcome)
        self._rate = self._rates[0].now if self._rates else 0.0
        for optimizer, rates in zip(self.optimizers, self._rates, strict=True):
            optimizer.step()
            rates.after()
        return outcome

    def _diverged(self, what: str, outcome: Outcome) -> TrainingDiverged:
        values = {"loss": outcome.loss.detach(), **outcome.metrics}
        metrics = ", ".join(f"{name} {float(value):.4g}" for name, value in values.items())
        return TrainingDiverged(
            f"step {self.step + 1}: {what} is not finite (last metrics: {metrics}); {self._last_good()}; a smaller learning "
            "rate, or for TC² calibration.gamma = 0, is the usual cure"
        )

    def _last_good(self) -> str:
        saved = self.folder.latest if self.folder else None
        return f"last good checkpoint: {saved or 'none was written'}"

    def _record(self, outcome: Outcome, progress: Progress, warned: set[str], validated: Record) -> None:
        record: Record = {"step": self.step, "loss": float(outcome.loss.detach())}
        record |= {name: float(value) for name, value in outcome.metrics.items()}
        record |= {
            "lr": self._learning_rate(),
            "seconds": round(self.seconds, 3),
            **progress.rates(),
            **validated,
            **self._told,
        }
        self._told = {}
        alarms = self.learner.alarms(record)
        if outcome.embeddings is not None and (sentence := collapsed(outcome.embeddings)):
            alarms = {**alarms, "collapse": sentence}
        self.history.append(record)
        if not self.ranks.first:
            self.callbacks.call("on_record", self, record)
            return
        if self.folder:
            self.folder.require_there()
            append_metrics(self.folder.metrics, {**record, **({"alarms": alarms} if alarms else {})})
        self._logging.log(record)
        for name in alarms.keys() - warned:
            warned.add(name)
            warnings.warn(f"step {self.step}: {alarms[name]}", HealthWarning, stacklevel=3)
        self.callbacks.call("on_record", self, record)

    def _learning_rate(self) -> float:
        """Of the step that was made: by the schedule that is named, or of the first optimizer that a function made."""
        own = callable(self.options.schedule) or callable(self.options.optimizer)
        return self._rate if own else self.options.learning_rate(self.step - 1)


def _never() -> bool:
    return False


def _images(episode: Episode) -> int:
    return sum(int(math.prod(side.images.shape[:3])) for side in (episode.support, episode.query))


# What is raised where numbers are no longer finite; torch does not export the second.
_DIVERGES = (InnerLoopDiverged, torch.linalg.LinAlgError)  # type: ignore[attr-defined]

# What learners, optimizers and samplers raise on a state that is not theirs.
_UNFIT = (RuntimeError, ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError, AssertionError)


def _one_line(error: Exception) -> str:
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) < 400 else words[:400] + "..."

"""`EpisodicTrainer`: the outer loop for any learner on any sampler."""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from torch import nn

from metatc2.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint
from metatc2.episodes import Episode, FromIterable, Sampler
from metatc2.errors import InputError
from metatc2.inner import InnerLoopDiverged
from metatc2.kernels import channels_last_parameters
from metatc2.learners import Learner, Outcome, ParameterGroup
from metatc2.module_state import refuse_uninitialized
from metatc2.objectives import collapsed
from metatc2.progress import Progress

Record = dict[str, float]


class TrainingDiverged(RuntimeError):
    """The loss or a gradient is no longer finite. The message names step, last metrics and last good checkpoint."""


class HealthWarning(UserWarning):
    """A run goes on but something is wrong: embeddings collapse, or a learner raises an alarm."""


@dataclass(frozen=True)
class TrainerOptions:
    """How to train.

    Args:
        steps: episodes to train on.
        optimizer: of parameter groups that do not bring their own: AdamW, or SGD with Nesterov momentum 0.9.
        lr: peak learning rate; it rises linearly over `warmup` (a share of the steps), then falls as a cosine to 0.
        weight_decay: on matrices and kernels, not on biases and norms, nor on what a module's own ``no_weight_decay()`` names
            (as timm's models do).
        clip: largest gradient norm of each parameter group; 0 switches clipping off.
        precision: of the forward pass through the encoder, as Lightning Fabric names them.
        accelerator: as Lightning Fabric names them.
        checkpoint_every: steps between checkpoints; 0 writes only the last one.
        log_every: steps between records of the metrics.
    """

    steps: int = 600
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: float = 2e-3
    weight_decay: float = 1e-4
    warmup: float = 0.05
    clip: float = 1.0
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    accelerator: str = "auto"
    checkpoint_every: int = 200
    log_every: int = 10


class EpisodicTrainer:
    """Train any `Learner` on any sampler of episodes.

    Args:
        learner: `learner(episode)` must return an `Outcome`.
        sampler: anything with ``.sample()``, or an iterator of episodes. Where it also has ``state_dict`` and
            ``load_state_dict``, runs can be resumed.
        options: how to train.
        run: folder for ``metrics.jsonl`` and ``checkpoint/``; None writes nothing.
        about: facts that a checkpoint must agree with to be resumed, e.g. ``{"fingerprint": ...}``.
        show: show live progress on the terminal.

    A run that is cut at any step and resumed ends in the same bits as one never cut (on CPU).
    """

    def __init__(
        self,
        learner: Learner,
        sampler: Sampler | Iterable[Episode],
        options: TrainerOptions | None = None,
        *,
        run: Path | str | None = None,
        about: dict[str, Any] | None = None,
        show: bool = False,
    ) -> None:
        self.options = options or TrainerOptions()
        self.sampler = sampler if hasattr(sampler, "sample") else FromIterable(sampler)
        self.about, self.show = about or {}, show
        self.run = None if run is None else Path(run)
        self.fabric = _fabric(self.options)
        refuse_uninitialized(learner, type(learner).__name__)
        self.learner = channels_last_parameters(learner.to(self.fabric.device))
        self.groups = learner.groups()
        self.optimizers = [self._optimizer(group) for group in self.groups]
        self.step, self.seconds = 0, 0.0
        self.history: list[Record] = []

    def fit(self, until: int | None = None) -> list[Record]:
        """Train to the end, or up to step `until`.

        Modes are the caller's: a part of the learner that is in eval mode (a frozen batch normalisation) stays in it.

        Returns:
            One record of metrics every `log_every` steps.

        Raises:
            TrainingDiverged: if the loss or a gradient is not finite.
        """
        steps = self.options.steps
        until = steps if until is None else min(until, steps)
        started, earlier = time.perf_counter(), self.seconds
        warned: set[str] = set()
        with Progress(steps, self.step, show=self.show) as progress:
            while self.step < until:
                before = time.perf_counter()
                episode = self.sampler.sample().to(self.fabric.device)
                waited = time.perf_counter() - before
                outcome = self.train_step(self.step, episode)
                self.step += 1
                now = time.perf_counter()
                self.seconds = earlier + now - started
                progress.advance(self.step, float(outcome.loss.detach()), _images(episode), now - before, waited)
                if self.step % self.options.log_every == 0 or self.step == until:
                    self._record(outcome, progress, warned)
                every = self.options.checkpoint_every
                if self.run and ((every and self.step % every == 0) or self.step == steps):
                    self.save()
        return self.history

    def save(self) -> Path:
        """Write a checkpoint of everything that the rest of the run depends on.

        Raises:
            InputError: if the trainer has no run folder.
        """
        if self.run is None:
            raise InputError("EpisodicTrainer.save: there is no run folder; pass run=PATH to the trainer")
        state = {
            "learner": self.learner.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "sampler": self.sampler.state_dict() if hasattr(self.sampler, "state_dict") else None,
            "random": torch.get_rng_state(),
            "seconds": self.seconds,
        }
        if torch.cuda.is_available():
            state["random_cuda"] = torch.cuda.get_rng_state_all()
        return save_checkpoint(self.run / "checkpoint", self.step, state, self.about)

    def resume(self) -> int:
        """Continue from the run folder's last checkpoint; returns its step.

        Raises:
            InputError: if there is none, it is damaged, or it belongs to another configuration.
        """
        found = None if self.run is None else latest_checkpoint(self.run / "checkpoint")
        if found is None or self.run is None:
            raise InputError(f"no checkpoint in {self.run}/checkpoint; start the run again without --resume")
        step, state, about = load_checkpoint(found)
        if about != self.about:
            raise InputError(
                f"checkpoint {found} was written by another configuration ({_difference(about, self.about)}); "
                "resume with the config.toml it was started with"
            )
        if state["sampler"] is None or not hasattr(self.sampler, "load_state_dict"):
            raise InputError(
                f"{type(self.sampler).__name__} cannot be resumed: it would start its episodes anew; give it state_dict and "
                "load_state_dict, or train without interruption"
            )
        try:
            self.learner.load_state_dict(state["learner"])
        except RuntimeError as error:
            raise InputError(f"checkpoint {found} does not fit this learner: {error}") from error
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.sampler.load_state_dict(state["sampler"])
        torch.set_rng_state(state["random"])
        if "random_cuda" in state and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(state["random_cuda"])
        self.step, self.seconds = step, float(state["seconds"])
        self._cut_metrics()
        return step

    def learning_rate(self, step: int) -> float:
        """Learning rate at a step: linear warm-up, then cosine."""
        rise = self.options.warmup * self.options.steps
        if step < rise:
            return self.options.lr * (step + 1) / (rise + 1)
        share = (step - rise) / max(1.0, self.options.steps - rise)
        return self.options.lr * 0.5 * (1 + math.cos(math.pi * share))

    def _optimizer(self, group: ParameterGroup) -> torch.optim.Optimizer:
        if group.lr is not None:
            return torch.optim.Adam(group.parameters, lr=group.lr)
        spared = without_decay(self.learner)
        decay = [p for p in group.parameters if p.ndim > 1 and id(p) not in spared]
        rest = [p for p in group.parameters if p.ndim <= 1 or id(p) in spared]
        sets = [{"params": decay, "weight_decay": self.options.weight_decay}, {"params": rest, "weight_decay": 0.0}]
        if self.options.optimizer == "sgd":
            return torch.optim.SGD(sets, lr=self.options.lr, momentum=0.9, nesterov=True)
        return torch.optim.AdamW(sets, lr=self.options.lr)

    def train_step(self, step: int, episode: Episode) -> Outcome:
        """One step on an episode that is already on the device; `fit` is a loop of these.

        Raises:
            TrainingDiverged: if the loss or a gradient is not finite.
        """
        self.learner.begin_step(step, self.options.steps)
        for group, optimizer in zip(self.groups, self.optimizers, strict=True):
            if group.lr is None:
                for parameters in optimizer.param_groups:
                    parameters["lr"] = self.learning_rate(step)
        try:
            with self.fabric.autocast():
                outcome: Outcome = self.learner(episode)
        except InnerLoopDiverged as error:
            raise TrainingDiverged(f"step {step + 1}: {error}; {self._last_good()}") from error
        if not bool(torch.isfinite(outcome.loss)):
            raise self._diverged("the loss", outcome)
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(outcome.loss)
        limit = self.options.clip or math.inf
        for group, optimizer in zip(self.groups, self.optimizers, strict=True):
            norm = nn.utils.clip_grad_norm_(group.parameters, limit)
            if not bool(torch.isfinite(norm)):
                raise self._diverged(f"the gradient of {group.name!r}", outcome)
            optimizer.step()
        self.learner.end_step()
        return outcome

    def _diverged(self, what: str, outcome: Outcome) -> TrainingDiverged:
        values = {"loss": outcome.loss.detach(), **outcome.metrics}
        metrics = ", ".join(f"{name} {float(value):.4g}" for name, value in values.items())
        return TrainingDiverged(
            f"step {self.step + 1}: {what} is not finite (last metrics: {metrics}); {self._last_good()}; a smaller learning "
            "rate, or for TC² calibration.gamma = 0, is the usual cure"
        )

    def _last_good(self) -> str:
        saved = latest_checkpoint(self.run / "checkpoint") if self.run else None
        return f"last good checkpoint: {saved or 'none was written'}"

    def _record(self, outcome: Outcome, progress: Progress, warned: set[str]) -> None:
        record: Record = {"step": self.step, "loss": float(outcome.loss.detach())}
        record |= {name: float(value) for name, value in outcome.metrics.items()}
        record |= {"lr": self.learning_rate(self.step - 1), "seconds": round(self.seconds, 3), **progress.rates()}
        alarms = self.learner.alarms(record)
        if outcome.embeddings is not None and (sentence := collapsed(outcome.embeddings)):
            alarms = {**alarms, "collapse": sentence}
        self.history.append(record)
        if self.run:
            self.run.mkdir(parents=True, exist_ok=True)
            with (self.run / "metrics.jsonl").open("a") as file:
                file.write(json.dumps({**record, **({"alarms": alarms} if alarms else {})}) + "\n")
        for name in alarms.keys() - warned:
            warned.add(name)
            warnings.warn(f"step {self.step}: {alarms[name]}", HealthWarning, stacklevel=3)

    def _cut_metrics(self) -> None:
        """Forget records of steps after the checkpoint: they will be made again."""
        path = self.run / "metrics.jsonl" if self.run else None
        if path is None or not path.exists():
            return
        kept = []
        for line in path.read_text().splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                continue  # the last line of a run that was killed
            if record["step"] <= self.step:
                kept.append(line)
                self.history.append({k: v for k, v in record.items() if k != "alarms"})
        path.write_text("".join(f"{line}\n" for line in kept))


def _fabric(options: TrainerOptions) -> Fabric:
    try:
        return Fabric(accelerator=options.accelerator, devices=1, precision=options.precision)
    except (ValueError, RuntimeError, ImportError) as error:  # Fabric's own words, as an error of the input
        raise InputError(f"trainer.accelerator = {options.accelerator!r} cannot be used here: {error}") from error


def without_decay(module: nn.Module) -> set[int]:
    """Identities of the parameters that a part's ``no_weight_decay()`` names, relative to that part.

    >>> class Tokens(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.token = nn.Parameter(torch.zeros(1, 1, 8))
    ...     def no_weight_decay(self):
    ...         return {"token"}
    >>> tokens = Tokens()
    >>> without_decay(nn.Sequential(tokens)) == {id(tokens.token)}
    True
    """
    spared = set()
    for part in module.modules():
        names = getattr(part, "no_weight_decay", None)
        if callable(names):
            own = dict(part.named_parameters(remove_duplicate=False))
            spared |= {id(own[name]) for name in names() if name in own}
    return spared


def _images(episode: Episode) -> int:
    return sum(int(math.prod(side.images.shape[:3])) for side in (episode.support, episode.query))


def _difference(saved: dict[str, Any], now: dict[str, Any]) -> str:
    keys = [key for key in {**saved, **now} if saved.get(key) != now.get(key)]
    return "; ".join(f"{key}: {saved.get(key)} in the checkpoint, {now.get(key)} now" for key in keys)

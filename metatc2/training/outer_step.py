"""One step of the outer loop: forward, backward, optimizers; on all processes or on none."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.optim import Optimizer

from metatc2.episodes import Episode
from metatc2.errors import InputError
from metatc2.inner import InnerLoopDiverged
from metatc2.learners import Learner, Outcome, ParameterGroup
from metatc2.ops.ranks import Ranks
from metatc2.training.division import Division
from metatc2.training.finite_data import not_finite_in
from metatc2.training.options import TrainerOptions
from metatc2.training.outer_optimizer import LearningRates, outer_optimizer, without_decay

# What is raised where numbers are no longer finite; torch does not export the second.
_DIVERGES = (InnerLoopDiverged, torch.linalg.LinAlgError)  # type: ignore[attr-defined]


class TrainingDiverged(RuntimeError):
    """The data, the loss or a gradient is not finite. The message names step, last metrics and last good checkpoint, and where
    what is needed to make the step again was kept."""


class OuterStep:
    """A learner with its optimizers.

    Args:
        learner: on its device.
        options: of training.
        fabric: for autocast and backward.
        ranks: that train together.
        last_good: says where the last checkpoint is, for errors.

    Raises:
        InputError: see `Division`, `outer_optimizer` and `LearningRates`.
    """

    def __init__(
        self, learner: Learner, options: TrainerOptions, fabric: Fabric, ranks: Ranks, last_good: Callable[[], str]
    ) -> None:
        self.learner, self.fabric, self.ranks, self._last_good = learner, fabric, ranks, last_good
        self.options = options
        self.division = Division(learner, ranks, options.accumulate)
        self.groups: Sequence[ParameterGroup] = learner.groups()
        spared = without_decay(learner)
        self.optimizers: list[Optimizer] = [outer_optimizer(group, options, spared) for group in self.groups]
        self.rates = [
            LearningRates(optimizer, group, options)
            for optimizer, group in zip(self.optimizers, self.groups, strict=True)
        ]
        self._rate = 0.0

    @property
    def learning_rate(self) -> float:
        """Of the first optimizer in the last step."""
        return self._rate

    def __call__(self, step: int, episode: Episode) -> Outcome:
        """Make a step on an episode that is already on the device.

        Args:
            step: steps done before it.
            episode: the tasks of this process.

        Raises:
            TrainingDiverged: if the data, the loss or a gradient is not finite. No parameter has moved then.
        """
        where = not_finite_in(episode)
        if self.ranks.any(where is not None):  # what one alone knows all must know before they wait for each other
            what = "those of another rank" if where is None else where
            raise TrainingDiverged(f"step {step + 1}: the data are not finite: {what}; {self._last_good()}")
        self.learner.begin_step(step, self.options.length_at(step))
        for rates in self.rates:
            rates.before(step)
        with self.division.within():
            outcome = self._forward_and_step(step, episode)
            self.learner.end_step()
        return outcome

    def _forward_and_step(self, step: int, episode: Episode) -> Outcome:
        outcome = self._forward(step, episode)
        self._backward(step, episode, outcome)
        self._move(step, outcome)
        return outcome

    def _forward(self, step: int, episode: Episode) -> Outcome:
        """An outcome whose loss is finite on all processes."""
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
            raise self._diverged(step, "the loss", outcome)
        assert outcome is not None  # it is finite
        return outcome

    def _backward(self, step: int, episode: Episode, outcome: Outcome) -> None:
        """Gradients of the mean over all processes."""
        failed: Exception | None = None
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        weight = self.division.weight(episode)
        try:
            self.fabric.backward(outcome.loss if weight is None else outcome.loss * weight)
        except _DIVERGES as error:
            failed = error
        if self.ranks.any(failed is not None):
            said = failed or "the gradient of another rank is not finite"
            raise TrainingDiverged(f"step {step + 1}: {said}; {self._last_good()}") from failed
        self.ranks.mean_gradients(p for group in self.groups for p in group.parameters)

    def _move(self, step: int, outcome: Outcome) -> None:
        """A step of every optimizer, along gradients that are finite."""
        limit = self.options.clip or math.inf
        norms = [nn.utils.clip_grad_norm_(group.parameters, limit) for group in self.groups]
        # All of them before any optimizer moves: what is kept of a step that failed is the state before it.
        for group, norm in zip(self.groups, norms, strict=True):
            if not bool(torch.isfinite(norm)):
                raise self._diverged(step, f"the gradient of {group.name!r}", outcome)
        self._rate = self.rates[0].now if self.rates else 0.0
        for optimizer, rates in zip(self.optimizers, self.rates, strict=True):
            optimizer.step()
            rates.after()

    def _diverged(self, step: int, what: str, outcome: Outcome) -> TrainingDiverged:
        values = {"loss": outcome.loss.detach(), **outcome.metrics}
        metrics = ", ".join(f"{name} {float(value):.4g}" for name, value in values.items())
        return TrainingDiverged(
            f"step {step + 1}: {what} is not finite (last metrics: {metrics}); {self._last_good()}; a smaller learning "
            "rate, or for TC² calibration.gamma = 0, is the usual cure"
        )

"""Everything that the rest of a training depends on, as a checkpoint holds it."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from metatc2.errors import InputError
from metatc2.ops.ranks import Ranks
from metatc2.training.averaging import Average
from metatc2.training.callbacks import Callbacks
from metatc2.training.optimizer_state import load_optimizer
from metatc2.training.outer_optimizer import LearningRates
from metatc2.training.random_states import random_states, set_random_states

# What learners, optimizers and samplers raise on a state that is not theirs.
_UNFIT = (RuntimeError, ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError, AssertionError)


class SavedState:
    """The parts of a training that have a state.

    Args:
        learner, optimizers, rates, average, callbacks: of the training.
        sampler: whose state is kept if it has one.
        ranks: that train together; all of them call every method.
        device: of this process.
    """

    def __init__(
        self,
        learner: nn.Module,
        optimizers: Sequence[Optimizer],
        rates: Sequence[LearningRates],
        average: Average,
        callbacks: Callbacks,
        sampler: Any,
        ranks: Ranks,
        device: torch.device,
    ) -> None:
        self.learner, self.optimizers, self.callbacks = learner, optimizers, callbacks
        self.schedulers = [each for each in rates if each.scheduler is not None]
        self.average, self.sampler, self.ranks, self.device = average.model, sampler, ranks, device

    def now(self, seconds: float) -> dict[str, Any]:
        """As it is, with the seconds that training took."""
        # Of schedulers, the average and callbacks, where there are any.
        added = {
            "schedulers": [each.state_dict() for each in self.schedulers],
            "average": {} if self.average is None else self.average.state_dict(),
            "callbacks": self.callbacks.state_dict(),
        }
        return {
            "learner": self.learner.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "sampler": self.sampler.state_dict() if hasattr(self.sampler, "state_dict") else None,
            "seconds": seconds,
            **{name: state for name, state in added.items() if state},
            **random_states(self.ranks, self.device),
        }

    def resume(self, state: dict[str, Any], checkpoint: Path, seconds: float) -> float:
        """Take over a state, whole or not at all; returns its seconds.

        Args:
            state: of `now`.
            checkpoint: where it lies, for errors.
            seconds: of the state that there is now.

        Raises:
            InputError: if the sampler cannot be resumed, or the state is of other parts.
        """
        if state.get("sampler") is None or not hasattr(self.sampler, "load_state_dict"):
            raise InputError(
                f"{type(self.sampler).__name__} cannot be resumed: it would start its episodes anew; give it state_dict "
                "and load_state_dict, or train without interruption"
            )
        before = copy.deepcopy(self.now(seconds))
        try:
            return self._load(state)
        except (InputError, *_UNFIT) as error:
            self._load(before)
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"checkpoint {checkpoint} does not fit this learner, its optimizers or its sampler: {_one_line(error)}; "
                "resume with those it was written with"
            ) from error

    def _load(self, state: dict[str, Any]) -> float:
        seconds = float(state["seconds"])
        if not (math.isfinite(seconds) and seconds >= 0):
            raise ValueError(f"seconds = {seconds}")
        self.learner.load_state_dict(state["learner"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            load_optimizer(optimizer, saved)
        for scheduler, saved in zip(self.schedulers, state.get("schedulers", []), strict=True):
            scheduler.load_state_dict(saved)
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.callbacks.load_state_dict(state.get("callbacks", {}))
        if state["sampler"] is not None and hasattr(self.sampler, "load_state_dict"):
            self.sampler.load_state_dict(state["sampler"])
        set_random_states(state, self.ranks, self.device)
        return seconds


def _one_line(error: Exception) -> str:
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) < 400 else words[:400] + "..."

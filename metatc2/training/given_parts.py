"""What a trainer is given, checked before anything is made of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from metatc2.errors import InputError
from metatc2.learners import Learner
from metatc2.training.options import TrainerOptions


def require_parts(learner: Any, sampler: Any, options: Any) -> None:
    """Whether what a trainer is given is what it takes.

    Raises:
        InputError: if something is of another type.
    """
    if not isinstance(learner, Learner):
        raise InputError(
            f"Trainer: learner must be a metatc2.learners.Learner, got {type(learner).__name__}; write a subclass with "
            "forward(episode), or pass one of metatc2.learners"
        )
    if not hasattr(sampler, "sample") and not isinstance(sampler, Iterable):
        raise InputError(
            f"Trainer: sampler must have sample() or be an iterable of episodes, got {type(sampler).__name__}; pass one of "
            "metatc2.episodes"
        )
    if not isinstance(options, TrainerOptions | None):
        raise InputError(
            f"Trainer: options must be TrainerOptions, got {type(options).__name__}; write TrainerOptions(steps=...)"
        )

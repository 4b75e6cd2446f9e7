"""Heads called with what they are to be told beside the representation."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from metatc2.conditioning.views.base import conditioned
from metatc2.episodes import TaskIdentity
from metatc2.errors import InputError
from metatc2.learners.base import full_precision
from metatc2.learners.row_heads import task_by_task


def is_told(projector: nn.Module) -> bool:
    """Whether a projector is called with the identity of the tasks."""
    return bool(getattr(projector, "told", False))


def encoded(head: nn.Module | None, descriptors: Tensor) -> Tensor | None:
    """What a conditioned head makes of the descriptors of views; None of one that is not conditioned.

    Args:
        head: projector or predictor.
        descriptors: ``(tasks, samples, views, P)``.
    """
    if not conditioned(head):
        return None
    encode: Any = getattr(head, "encode")  # noqa: B009  # of a user's own, of which no more is known
    with full_precision(descriptors):
        code: Tensor = encode(descriptors)
    return code


def project(head: nn.Module, z: Tensor, identity: TaskIdentity | None = None, code: Tensor | None = None) -> Tensor:
    """What a head makes of z, ``(tasks, samples, views, d)``, with what it is to be told.

    Args:
        head: projector or predictor.
        z: its input.
        identity: for one that is told what the tasks are.
        code: for one that is conditioned on the views' descriptors, what it made of them.

    Raises:
        InputError: if what it is told is not known.
    """
    if conditioned(head):
        if code is None:
            raise InputError(
                f"{type(head).__name__} is told how each view was made, and was not; pass what its encode(descriptors) gives"
            )
        out: Tensor = head(z, code)
        return out
    if not is_told(head):
        return task_by_task(head, z)
    if identity is None:
        raise InputError(
            f"{type(head).__name__} is told what each task is, and the episode does not say; use a sampler whose tasks "
            "differ (episode.tasks_differ_by = views, domain or factor)"
        )
    told: Tensor = head(z, identity)
    return told

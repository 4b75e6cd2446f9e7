"""Losses of several tasks: all in one call under ``vmap``, and whether each can be learned from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from metatc2.errors import InputError
from metatc2.inner import InnerLoopDiverged, Params
from metatc2.ops.twice import differentiable_twice


def in_one_call(
    one: Callable[..., tuple[Tensor, Tensor]],
    theta: Params,
    x: Tensor,
    y: Tensor,
    query_x: Tensor,
    query_y: Tensor,
    way: int,
    *,
    of: str,
) -> tuple[Tensor, Tensor]:
    """Losses ``(t,)`` and scores ``(t, Q, way)`` of t tasks.

    Args:
        one: loss and scores of a task, called with theta, its part of the four tensors, and way.
        theta, way: the same for all tasks.
        x, y, query_x, query_y: of t tasks.
        of: what the network is called in errors.

    Raises:
        InputError: if something in the network has no rule for ``vmap``.
    """
    several: Any = torch.func.vmap(one, in_dims=(None, 0, 0, 0, 0, None), randomness="different")
    try:
        with differentiable_twice():  # the fused kernels of attention have no rule for vmap either
            results: tuple[Tensor, Tensor] = several(theta, x, y, query_x, query_y, way)
    except (InnerLoopDiverged, InputError, torch.OutOfMemoryError):
        raise
    except (RuntimeError, NotImplementedError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise InputError(
            f"{of} cannot run for several tasks in one call, under vmap ({reason}); take tasks one by one (vmap_chunk=1)"
        ) from error
    return results


def require_finite(losses: Tensor, start: int) -> None:
    """Nothing, if the losses of some tasks are finite.

    Args:
        losses: ``(t,)``.
        start: number of the first of them in the episode.

    Raises:
        InnerLoopDiverged: if one is not; the message names its task.
    """
    if not bool(losses.isfinite().all()):
        task = start + int((~losses.isfinite()).nonzero()[0])
        raise InnerLoopDiverged(
            f"task {task} of the episode: the loss on its queries is NaN or infinite; use a smaller inner learning rate "
            "or clip the inner gradient"
        )

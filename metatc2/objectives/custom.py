"""Any loss of two views as an objective."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from metatc2.errors import InputError
from metatc2.objectives.base import Embeddings, Objective, pair
from metatc2.ops.precision import upcast


class Custom(Objective):
    """Any ``loss(z1, z2) -> scalar`` on the projections of two views, called for each task and averaged over them.

    To be calibrated it must be out of place and twice differentiable. One with a queue of earlier keys (lightly's
    ``NTXentLoss(memory_bank_size=...)``) is accepted and not comparable under TC²: its keys were weighed for other tasks.

    Args:
        loss: takes two tensors ``(n, D)``, one a view, in the same order; gives a scalar to minimise. An `nn.Module`
            moves between devices and is saved with the learner.
        min_samples: fewest samples a task that the loss can do with.

    Raises:
        InputError: if the loss cannot be called, or when its result is not a scalar tensor.

    >>> Custom(lambda z1, z2: (z1 - z2).square().mean())(Embeddings(torch.ones(3, 8, 2, 4))).item()
    0.0
    """

    name = "custom"

    def __init__(self, loss: Callable[[Tensor, Tensor], Tensor], *, min_samples: int = 2) -> None:
        super().__init__()
        if not callable(loss):
            raise InputError(f"custom: loss must be a callable (z1, z2) -> scalar, found {type(loss).__name__}")
        self.loss = loss
        self.min_samples = min_samples

    def per_task(self, e: Embeddings) -> Tensor:
        """Loss of every task, ``(tasks,)``."""
        z1, z2 = pair(e.projections)
        with upcast(z1, z2) as (z1, z2):
            return torch.stack([self._scalar(a, b) for a, b in zip(z1, z2, strict=True)])

    def _scalar(self, z1: Tensor, z2: Tensor) -> Tensor:
        value = self.loss(z1, z2)
        # A user's callable may give anything, whatever its annotation.
        if not isinstance(value, Tensor) or value.numel() != 1:
            got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise InputError(f"custom: the loss must give a scalar tensor, found {got}; reduce it, e.g. by .mean()")
        return value.reshape(())

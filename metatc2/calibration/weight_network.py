"""The weight network: how much of every factor a sample holds."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from metatc2.errors import InputError, nearest

WeightOrder = Literal["sample", "task"]
# The inner loop writes, clips and differentiates every parameter in every step: hidden layers stay small under wide encoders.
WIDEST = 128


class WeightNetwork(nn.Module):
    """``W_j = f_w(z_j) Vᵀ``, ``f_w(z) = z + MLP(z)`` with a two-layer GELU network (TC²'s weight extraction network).

    The network's last layer starts at zero, so that W starts as the plain projection on the factors: without that, most of the
    representation stays unexplained through a short run.

    Args:
        dim: width d of the representation.
        hidden: width of the hidden layer; by default d, at most 128.
        order: ``"sample"``: weights of each sample; ``"task"``: their mean over a task, the same for all its samples.
        generator: the weights are drawn from it.

    Raises:
        InputError: if the order is unknown.

    >>> WeightNetwork(8)(torch.randn(2, 5, 2, 8), torch.randn(3, 8)).shape
    torch.Size([2, 5, 2, 3])
    """

    def __init__(
        self,
        dim: int,
        hidden: int | None = None,
        *,
        order: WeightOrder = "sample",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if order not in get_args(WeightOrder):
            raise InputError(f"unknown order of weights {order!r}; {nearest(order, get_args(WeightOrder))}")
        self.order = order
        hidden = hidden or min(dim, WIDEST)
        self.w1 = nn.Parameter(torch.randn(dim, hidden, generator=generator) / dim**0.5)
        self.b1 = nn.Parameter(torch.zeros(hidden))
        self.w2 = nn.Parameter(torch.zeros(hidden, dim))
        self.b2 = nn.Parameter(torch.zeros(dim))

    def forward(self, z: Tensor, factors: Tensor) -> Tensor:
        """Weights ``(tasks, samples, views, K)``.

        Args:
            z: ``(tasks, samples, views, d)``. Its dtype is the one that is computed in.
            factors: ``(K, d)``, of the same dtype.
        """
        w1, b1, w2, b2 = (p.to(z.dtype) for p in (self.w1, self.b1, self.w2, self.b2))
        # Few large operations on rows: in the inner loop each is differentiated twice, and their number is what takes the time.
        rows = z.flatten(0, -2)
        hidden = nn.functional.gelu(torch.addmm(b1, rows, w1))
        weights = (torch.addmm(rows + b2, hidden, w2) @ factors.T).view(*z.shape[:-1], -1)
        return task_mean(weights) if self.order == "task" else weights


class LinearWeights(nn.Module):
    """``W = z Vᵀ``, without parameters: with fixed orthonormal factors, ``W V`` is the projection on their span (a control)."""

    def forward(self, z: Tensor, factors: Tensor) -> Tensor:
        """Weights ``(tasks, samples, views, K)``."""
        return z @ factors.T


def task_mean(weights: Tensor) -> Tensor:
    """Mean over the samples and views of each task, broadcast back: ``(tasks, ..., K)``."""
    axes = tuple(range(1, weights.ndim - 1))
    return weights.mean(axes, keepdim=True).expand_as(weights)

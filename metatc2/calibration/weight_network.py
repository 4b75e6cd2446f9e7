"""The weight network: how much of every factor a sample holds."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# The inner loop writes, clips and differentiates every parameter in every step: hidden layers stay small under wide encoders.
WIDEST = 128


class SampleWeights(nn.Module):
    """``W_j = f_w(z_j) Vᵀ``, ``f_w(z) = z + MLP(z)`` with a two-layer GELU network: weights of each sample.

    TC²'s weight extraction network (arXiv 2511.13787; this form is our reading). The network's last layer starts at zero, so
    that W starts as the plain projection on the factors: without that, most of the representation stays unexplained through a
    short run.

    Args:
        dim: width d of the representation.
        hidden: width of the hidden layer; by default d, at most 128.
        generator: the weights are drawn from it.

    >>> SampleWeights(8)(torch.randn(2, 5, 2, 8), torch.randn(3, 8)).shape
    torch.Size([2, 5, 2, 3])
    """

    def __init__(self, dim: int, hidden: int | None = None, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
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
        return (torch.addmm(rows + b2, hidden, w2) @ factors.T).view(*z.shape[:-1], -1)


class MeanWeights(SampleWeights):
    """The mean of `SampleWeights` over each task, the same for all its samples."""

    def forward(self, z: Tensor, factors: Tensor) -> Tensor:
        """Weights ``(tasks, samples, views, K)``; arguments as those of `SampleWeights`."""
        return task_mean(super().forward(z, factors))


class LinearWeights(nn.Module):
    """``W = z Vᵀ``, without parameters: with fixed orthonormal factors, ``W V`` is the projection on their span (a control)."""

    def forward(self, z: Tensor, factors: Tensor) -> Tensor:
        """Weights ``(tasks, samples, views, K)``."""
        return z @ factors.T


def task_mean(weights: Tensor) -> Tensor:
    """Mean over the samples and views of each task, broadcast back: ``(tasks, ..., K)``."""
    axes = tuple(range(1, weights.ndim - 1))
    return weights.mean(axes, keepdim=True).expand_as(weights)

"""VICReg (Bardes et al., ICLR 2022, arXiv 2105.04906): keep views together, dimensions alive and decorrelated."""

from __future__ import annotations

from torch import Tensor

from metatc2.objectives.base import Embeddings, Objective, not_negative, pair
from metatc2.objectives.registry import register_objective
from metatc2.ops.numbers import NotNegative
from metatc2.ops.precision import upcast


def invariance(z1: Tensor, z2: Tensor) -> Tensor:
    """Mean squared difference of the views over samples *and* dimensions, as in the paper's algorithm 1.

    Equation 5 sums over the dimensions instead; the weights 25, 25, 1 belong to the mean.

    Args:
        z1: ``(..., n, D)``.
        z2: ``(..., n, D)``, in the same order.

    Returns:
        ``(...)``, one value a task.

    >>> import torch
    >>> invariance(torch.zeros(4, 3), torch.ones(4, 3)).item()
    1.0
    """
    with upcast(z1, z2) as (z1, z2):
        return (z1 - z2).square().mean((-2, -1))


def variance(z: Tensor, eps: float = 1e-4) -> Tensor:
    """``1/D Σ_j max(0, 1 − √(Var(z_j) + ε))``, equations 1 and 2, with the unbiased variance over a task's samples.

    Args:
        z: ``(..., n, D)``, n ≥ 2.
        eps: ε.

    Returns:
        ``(...)``, one value a task.

    >>> import torch
    >>> round(variance(torch.ones(4, 3)).item(), 4)  # 1 − √ε
    0.99
    """
    with upcast(z) as (z,):
        centered = z - z.mean(-2, keepdim=True)
        variance = centered.square().sum(-2) / (z.shape[-2] - 1)
        return (1 - (variance + eps).sqrt()).relu().mean(-1)


def covariance(z: Tensor) -> Tensor:
    """``1/D Σ_i Σ_{j≠i} Cov(z)_ij²``, equations 3 and 4, over a task's samples.

    Args:
        z: ``(..., n, D)``, n ≥ 2.

    Returns:
        ``(...)``, one value a task.

    >>> import torch
    >>> z = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])  # Cov = 2 everywhere
    >>> covariance(z).item()
    4.0
    """
    with upcast(z) as (z,):
        centered = z - z.mean(-2, keepdim=True)
        matrix = centered.mT @ centered / (z.shape[-2] - 1)
        different = matrix - matrix.diagonal(dim1=-2, dim2=-1).diag_embed()
        return different.square().sum((-2, -1)) / z.shape[-1]


@register_objective("vicreg")
class VICReg(Objective):
    """``λ s(z1, z2) + μ [v(z1) + v(z2)] + ν [c(z1) + c(z2)]``, equation 6 and algorithm 1 of the paper.

    The authors' code, and lightly's ``VICRegLoss`` after it, halve the bracket of μ: they average the variance terms of the
    two views where the paper adds them. ``VICReg(λ, μ, ν)`` equals ``VICRegLoss(λ, 2μ, ν)``, so the weights 25, 25, 1 are
    25, 50, 1 there, and ``VICReg(variance=12.5)`` is what that code trains with by default.

    Args:
        invariance: λ, weight of the distance between views.
        variance: μ, weight of the standard deviation that a dimension lacks.
        covariance: ν, weight of the covariance between dimensions.

    Raises:
        InputError: if a weight is negative.

    >>> import torch
    >>> round(VICReg()(Embeddings(torch.ones(2, 4, 2, 8))).item(), 3)  # collapsed: 2 · 25 · 0.99
    49.5
    """

    def __init__(
        self, invariance: NotNegative = 25.0, variance: NotNegative = 25.0, covariance: NotNegative = 1.0
    ) -> None:
        super().__init__()
        self.invariance = not_negative(invariance, "invariance", self.name)
        self.variance = not_negative(variance, "variance", self.name)
        self.covariance = not_negative(covariance, "covariance", self.name)

    def per_task(self, e: Embeddings) -> Tensor:
        """Loss of every task, ``(tasks,)``."""
        z1, z2 = pair(e.projections)
        return (
            self.invariance * invariance(z1, z2)
            + self.variance * (variance(z1) + variance(z2))
            + self.covariance * (covariance(z1) + covariance(z2))
        )

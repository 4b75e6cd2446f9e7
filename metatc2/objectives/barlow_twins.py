"""Barlow Twins (Zbontar et al., ICML 2021, arXiv 2103.03230): make the cross-correlation of the views the identity."""

from __future__ import annotations

from torch import Tensor

from metatc2.objectives.base import Embeddings, Objective, not_negative, pair
from metatc2.objectives.registry import register_objective
from metatc2.ops.numbers import NotNegative
from metatc2.ops.precision import standardized, upcast


def redundancy(z1: Tensor, z2: Tensor, weight: NotNegative = 0.0051, eps: float = 1e-5) -> Tensor:
    """``Σ_i (1 − C_ii)² + λ Σ_i Σ_{j≠i} C_ij²``, equations 1 and 2 of the paper, within each task.

    Args:
        z1: ``(..., n, D)``, first views.
        z2: ``(..., n, D)``, second views, in the same order.
        weight: λ.
        eps: added to the variance of each dimension, so that a constant one correlates with nothing.

    Returns:
        ``(...)``, one loss a task.

    >>> import torch
    >>> z = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])  # uncorrelated dimensions
    >>> round(redundancy(z, z).item(), 6), round(redundancy(z, -z).item(), 3)
    (0.0, 8.0)
    """
    with upcast(z1, z2) as (z1, z2):
        correlation = standardized(z1, eps).mT @ standardized(z2, eps) / z1.shape[-2]
        same = correlation.diagonal(dim1=-2, dim2=-1)
        different = correlation - same.diag_embed()
        return (1 - same).square().sum(-1) + weight * different.square().sum((-2, -1))


@register_objective("barlow")
class BarlowTwins(Objective):
    """`redundancy` between the projections of two views.

    The same as lightly's ``BarlowTwinsLoss(weight)``, whose default is 0.005 where the authors' code has 0.0051.

    Args:
        weight: λ, of the terms off the diagonal; the paper's 0.0051.

    Raises:
        InputError: if the weight is negative.

    >>> import torch
    >>> BarlowTwins()(Embeddings(torch.ones(2, 4, 2, 8))).item()  # collapsed: D
    8.0
    """

    title = "Barlow Twins"

    def __init__(self, weight: NotNegative = 0.0051) -> None:
        super().__init__()
        self.weight = not_negative(weight, "weight", self.name)

    def per_task(self, e: Embeddings) -> Tensor:
        """Loss of every task, ``(tasks,)``."""
        return redundancy(*pair(e.projections), self.weight)

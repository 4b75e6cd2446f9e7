"""BYOL (Grill et al., NeurIPS 2020, arXiv 2006.07733): predict the momentum branch's view of the same image."""

from __future__ import annotations

from torch import Tensor

from metatc2.objectives.base import Embeddings, Objective, given, pair
from metatc2.objectives.registry import register_objective
from metatc2.ops.precision import unit, upcast


def normalized_distance(prediction: Tensor, target: Tensor) -> Tensor:
    """``‖q̄ − z̄‖² = 2 − 2 cos(q, z)``, equation 2 of the paper, averaged over the samples of each task.

    Args:
        prediction: ``(..., n, D)``.
        target: ``(..., n, D)``; no gradient flows into it.

    Returns:
        ``(...)``, one loss a task, between 0 and 4.

    >>> import torch
    >>> normalized_distance(torch.eye(2), -torch.eye(2)).item()
    4.0
    """
    with upcast(prediction, target) as (prediction, target):
        return (2 - 2 * (unit(prediction) * unit(target.detach())).sum(-1)).mean(-1)


@register_objective("byol")
class BYOL(Objective):
    """`normalized_distance` from each view's prediction to the other view's target, both directions added, as in the paper.

    Where libraries average the negative cosines of the two directions instead (lightly's ``NegativeCosineSimilarity`` in its
    BYOL), the same loss is ``4 + 4·that``: the gradient is four times as large.

    >>> import torch
    >>> z = torch.randn(2, 4, 2, 8)
    >>> 0 <= BYOL()(Embeddings(z, predictions=z, targets=z)).item() <= 8
    True
    """

    predictor = True
    momentum = True

    def per_task(self, e: Embeddings) -> Tensor:
        """Loss of every task, ``(tasks,)``."""
        q1, q2 = pair(given(e.predictions, "predictions", self))
        z1, z2 = pair(given(e.targets, "targets", self))
        return normalized_distance(q1, z2) + normalized_distance(q2, z1)

"""SimSiam (Chen and He, CVPR 2021, arXiv 2011.10566): predict the other view, whose gradient is stopped."""

from __future__ import annotations

from torch import Tensor

from metatc2.objectives.base import Embeddings, Objective, given, pair
from metatc2.objectives.registry import register_objective
from metatc2.ops.precision import unit, upcast


def negative_cosine(prediction: Tensor, projection: Tensor) -> Tensor:
    """``D(p, stopgrad(z)) = −cos(p, z)``, equations 1 and 3 of the paper, averaged over the samples of each task.

    Args:
        prediction: ``(..., n, D)``.
        projection: ``(..., n, D)``; no gradient flows into it.

    Returns:
        ``(...)``, one loss a task, between −1 and 1.

    >>> import torch
    >>> negative_cosine(torch.eye(2), 3 * torch.eye(2)).item()
    -1.0
    """
    with upcast(prediction, projection) as (prediction, projection):
        return -(unit(prediction) * unit(projection.detach())).sum(-1).mean(-1)


@register_objective("simsiam")
class SimSiam(Objective):
    """`negative_cosine` from each view's prediction to the other view's projection, both directions averaged (eq. 4).

    The same as lightly's ``NegativeCosineSimilarity``, averaged over both directions.

    >>> import torch
    >>> z = torch.ones(2, 4, 2, 8)
    >>> round(SimSiam()(Embeddings(z, predictions=z)).item(), 4)
    -1.0
    """

    predictor = True
    normalized_projector = True  # its baseline (section 3) has a norm after every layer of the projector

    def per_task(self, e: Embeddings) -> Tensor:
        """Loss of every task, ``(tasks,)``."""
        p1, p2 = pair(given(e.predictions, "predictions", self))
        z1, z2 = pair(e.projections)
        return (negative_cosine(p1, z2) + negative_cosine(p2, z1)) / 2

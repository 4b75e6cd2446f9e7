"""SUR: weights over encoders fitted on the labeled images, many of them zero."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from metatc2.ops.rows import unit_rows
from metatc2.transfer.fusion.baselines.base import Baseline, constant
from metatc2.transfer.fusion.baselines.registry import register_baseline
from metatc2.transfer.fusion.labeled import Fitted, LabeledSet

#: Weight of the sum of weights in the loss: what an encoder has to be worth to have any.
SPARSITY = 0.01


def sur_weights(similarities: Tensor, labels: Tensor, sparsity: float = SPARSITY) -> Tensor:
    """Weights w ≥ 0 that minimize ``cross-entropy(Σ_k w_k s_k) + sparsity · Σ w_k``; the problem is convex.

    Args:
        similarities: s, ``(K, n, classes)``, of each labeled image with each class.
        labels: int64 ``(n,)``.
        sparsity: weight of the penalty.

    Returns:
        float64 ``(K,)``; all equal where no encoder is worth a weight.

    >>> labels = torch.arange(40) % 2
    >>> told = torch.eye(2)[labels]
    >>> sur_weights(torch.stack([told, torch.zeros(40, 2)]), labels)[1].item()
    0.0
    """
    s = similarities.double()
    truth = s[:, torch.arange(len(labels)), labels]

    def loss(w: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        scores = torch.einsum("k,knc->nc", torch.from_numpy(w), s)
        gradient = torch.einsum("nc,knc->k", scores.softmax(1), s) / len(labels) - truth.mean(1) + sparsity
        value = (scores.logsumexp(1) - scores[torch.arange(len(labels)), labels]).mean() + sparsity * w.sum()
        return float(value), gradient.numpy()

    result = minimize(loss, np.ones(len(s)), jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(s))
    weights = torch.from_numpy(np.asarray(result.x)).clamp(min=0)
    return weights if bool(weights.any()) else torch.ones_like(weights)


@register_baseline("sur")
class SUR(Baseline):
    """Nearest class mean by the weighted sum of the encoders' cosines (Dvornik et al. 2020, arXiv 2003.09338).

    Weights are fitted on the labeled images as there, with two changes: the loss, convex in the weights of the cosines (the
    squares of their λ), is brought to its minimum under a penalty that makes them sparse, where they stop after 40 steps; and
    an image is no part of its class's mean where the class has others.
    """

    def fit(self, labeled: LabeledSet, generator: torch.Generator) -> Fitted:
        """See `Baseline.fit`."""
        units = [unit_rows(block) for block in labeled.blocks]
        member = torch.eye(labeled.classes)[labeled.labels]
        sums = [member.T @ unit for unit in units]
        # Own class without the image itself; where it is the only one, the mean is the image, as in the paper.
        alone = member.sum(0)[labeled.labels] < 2
        similarities = []
        for unit, total in zip(units, sums, strict=True):
            cosines = unit @ unit_rows(total).T
            without = total[labeled.labels] - unit.where(~alone[:, None], torch.zeros_like(unit))
            own = (unit * unit_rows(without)).sum(1)
            similarities.append(torch.where(member.bool(), own[:, None], cosines))
        weights = sur_weights(torch.stack(similarities), labeled.labels)
        means = [unit_rows(total) for total in sums]

        def logits(features: Sequence[Tensor]) -> Tensor:
            parts = zip(weights, labeled.standardized(features), means, strict=True)
            return torch.stack([w * (unit_rows(block) @ mean.T) for w, block, mean in parts]).sum(0).float()

        return Fitted(
            logits, constant((weights / weights.sum()).float()), {"encoders used": float((weights > 0).sum())}
        )

"""All features side by side, with a ridge penalty for each encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import Ridge
from torch import Tensor

from metatc2.metrics.selection import choose
from metatc2.transfer.fusion.baselines.base import Baseline
from metatc2.transfer.fusion.baselines.registry import register_baseline
from metatc2.transfer.fusion.labeled import Fitted, LabeledSet

#: Candidates of each penalty, in ascending order; features have a mean squared length of 1.
PENALTIES = (0.0001, 0.001, 0.01, 0.1, 1.0, 10.0)
#: Taken where a class has one label, so that there is nothing to validate on.
DEFAULT = 1.0


@register_baseline("concatenation-ridge")
class ConcatenationRidge(Baseline):
    """Least squares to one-hot targets on block-wise standardized features, ``|Σ X_k W_k + b − Y|² + Σ a_k |W_k|²``.

    The penalties are chosen by cross-validation inside the labels given: the best that all share, then one after the other.
    """

    def fit(self, labeled: LabeledSet, generator: torch.Generator) -> Fitted:
        """See `Baseline.fit`."""
        penalties = self._chosen(labeled)
        model = _ridge(labeled.blocks, labeled.labels, labeled.classes, penalties)

        def logits(features: Sequence[Tensor]) -> Tensor:
            return _scores(model, labeled.standardized(features), penalties).float()

        return Fitted(logits, None, {f"penalty {k}": a for k, a in enumerate(penalties)})

    def _chosen(self, labeled: LabeledSet) -> list[float]:
        if labeled.folds is None:
            return [DEFAULT] * labeled.encoders
        known: dict[tuple[float, ...], tuple[float, float]] = {}

        def validated(penalties: list[float]) -> tuple[float, float]:
            key = tuple(penalties)
            if key not in known:
                known[key] = labeled.validated(_out_of_fold(labeled, penalties))
            return known[key]

        def best(candidates: list[list[float]]) -> list[float]:
            accuracy, loss = (torch.tensor(column) for column in zip(*map(validated, candidates), strict=True))
            place = choose(accuracy, loss)
            assert place is not None  # features are finite
            return candidates[place[0]]

        penalties = best([[a] * labeled.encoders for a in PENALTIES])
        for k in range(labeled.encoders):
            penalties = best([[*penalties[:k], a, *penalties[k + 1 :]] for a in PENALTIES])
        return penalties


def _out_of_fold(labeled: LabeledSet, penalties: Sequence[float]) -> Tensor:
    assert labeled.folds is not None
    held = torch.zeros(len(labeled.labels), labeled.classes, dtype=torch.float64)
    for fold in labeled.folds.unique():
        out = labeled.folds == fold
        model = _ridge([b[~out] for b in labeled.blocks], labeled.labels[~out], labeled.classes, penalties)
        held[out] = _scores(model, [b[out] for b in labeled.blocks], penalties)
    return held


def _ridge(blocks: Sequence[Tensor], labels: Tensor, classes: int, penalties: Sequence[float]) -> Any:
    targets = torch.eye(classes, dtype=torch.float64)[labels].numpy()
    return Ridge(alpha=1.0).fit(_scaled(blocks, penalties), targets)


def _scaled(blocks: Sequence[Tensor], penalties: Sequence[float]) -> Any:
    """Features over the root of their penalty: one penalty of 1 is then one of a_k on each block."""
    return torch.cat([block.double() / a**0.5 for block, a in zip(blocks, penalties, strict=True)], 1).numpy()


def _scores(model: Any, blocks: Sequence[Tensor], penalties: Sequence[float]) -> Tensor:
    return torch.from_numpy(np.asarray(model.predict(_scaled(blocks, penalties))))

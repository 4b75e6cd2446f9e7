"""Separated attribute predictability: is one code alone the best predictor of a factor?"""

from __future__ import annotations

import torch
from sklearn.metrics import balanced_accuracy_score
from sklearn.tree import DecisionTreeClassifier
from torch import Tensor

from metatc2.data.sources.shapes.factors import GenerativeFactors
from metatc2.metrics.disentanglement.checks import both_checked
from metatc2.metrics.disentanglement.encoding import columns


def sap(codes: Tensor, factors: GenerativeFactors) -> Tensor:
    """Separated attribute predictability (Kumar et al., ICLR 2018, arXiv 1711.00848, section 3) of each factor.

    The score of the code that predicts the factor best less that of the second best; SAP is the mean over factors.

    The score of a linear factor is the squared correlation with the code. That of a circular one is the squared multiple
    correlation of the code with cosine and sine (Mardia 1976), so a code that is either of them, or any shift of them,
    scores 1, and a factor that two codes hold as cosine and sine has no gap. That of a categorical one is the balanced
    accuracy of thresholds on the code, one fewer than there are categories, found by a decision tree.

    Args:
        codes: ``(N, K)``, K at least 2.
        factors: of the same N images.

    Returns:
        float64 ``(F,)`` from 0 to 1.

    Raises:
        InputError: if codes are not finite, rows do not match, K is 1, or a factor does not vary.

    >>> values = torch.rand(300, 2, generator=torch.Generator().manual_seed(0))
    >>> known = GenerativeFactors(values, ("x", "y"), ("linear", "linear"))
    >>> bool((sap(values, known) > 0.9).all())
    True
    """
    most = predictability(codes, factors).topk(2, dim=0).values
    return most[0] - most[1]


def predictability(codes: Tensor, factors: GenerativeFactors) -> Tensor:
    """Score of every code as the only predictor of every factor, float64 ``(K, F)``; see `sap`."""
    x, known = both_checked(codes, factors, "SAP", fewest_codes=2)
    scores = [
        _thresholds(x, values) if kind == "categorical" else _explained(x, columns(values, kind))
        for values, kind in zip(known.values.unbind(1), known.kinds, strict=True)
    ]
    return torch.stack(scores, 1)


def _explained(x: Tensor, y: Tensor) -> Tensor:
    """Share of each code's variance that is linear in the columns of y, ``(K,)``."""
    centered = x - x.mean(0)
    basis = torch.linalg.qr(y).Q
    total = centered.square().sum(0)
    # A code that varies by rounding alone tells nothing.
    varies = total > len(x) * (x.abs().amax(0) * 1e-7).square()
    return torch.where(varies, (basis.mT @ centered).square().sum(0) / total.where(varies, 1.0), 0.0).clamp(0, 1)


def _thresholds(x: Tensor, values: Tensor) -> Tensor:
    """Balanced accuracy of thresholds on each code, ``(K,)``."""
    labels = values.long().numpy()
    accuracies = []
    for column in x.unbind(1):
        alone = column[:, None].numpy()
        tree = DecisionTreeClassifier(max_leaf_nodes=len(values.unique()), class_weight="balanced", random_state=0)
        accuracies.append(float(balanced_accuracy_score(labels, tree.fit(alone, labels).predict(alone))))
    return torch.tensor(accuracies, dtype=torch.float64)

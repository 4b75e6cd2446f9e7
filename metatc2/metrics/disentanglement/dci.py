"""DCI: does a code matter for one factor, a factor need one code, and do codes tell the factors at all?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from torch import Tensor

from metatc2.data.sources.shapes.factors import GenerativeFactors
from metatc2.errors import InputError
from metatc2.metrics.disentanglement.checks import both_checked
from metatc2.metrics.disentanglement.encoding import columns

_TEST = 0.25  # share of the images that informativeness is measured on
_LEAST = 20  # images
_LEAF = 3  # images in a leaf of a tree, at least


@dataclass(frozen=True, eq=False)
class DCI:
    """Disentanglement, completeness and informativeness.

    Args:
        importance: ``(K, F)`` share of each code in predicting each factor; columns sum to 1.
        by_code: disentanglement of each code ``(K,)``: 1 if it matters for one factor alone.
        completeness: of each factor ``(F,)``: 1 if one code alone matters for it.
        informativeness: of each factor ``(F,)``: 1 less the error on test images over that of the best constant; 1 for a
            perfect prediction, 0 or less for one no better than the constant. Errors are squared or, of categorical
            factors, shares of wrong answers.
    """

    importance: Tensor
    by_code: Tensor
    completeness: Tensor
    informativeness: Tensor

    @property
    def disentanglement(self) -> float:
        """Mean over codes, each weighed by its importance for all factors (the paper's)."""
        weight = self.importance.sum(1) / self.importance.sum()
        return float((weight * self.by_code).sum())


def dci(codes: Tensor, factors: GenerativeFactors, *, generator: torch.Generator, trees: int = 50) -> DCI:
    """Disentanglement, completeness, informativeness (Eastwood & Williams, ICLR 2018, section 3).

    The regressor is a random forest on all codes, one a factor, since it needs no scale and sees what is not linear;
    importance is the impurity that splits on a code remove. A forest fits cosine and sine of a circular factor together.

    Args:
        codes: ``(N, K)``.
        factors: at least two, of the same N images, N at least 20.
        generator: the split into training and test images, and the forests, come from it.
        trees: in a forest.

    Raises:
        InputError: if codes are not finite, rows do not match, there are too few rows or factors, or a factor does not vary.

    >>> values = torch.rand(400, 2, generator=torch.Generator().manual_seed(0))
    >>> known = GenerativeFactors(values, ("x", "y"), ("linear", "linear"))
    >>> scores = dci(values, known, generator=torch.Generator().manual_seed(0), trees=10)
    >>> scores.disentanglement > 0.9, bool((scores.informativeness > 0.9).all())
    (True, True)
    """
    x, known = both_checked(codes, factors, "DCI")
    if len(x) < _LEAST or known.values.shape[1] < 2:
        raise InputError(
            f"DCI: needs at least {_LEAST} images and two factors, got {len(x)} and {known.values.shape[1]}; give more"
        )
    order = torch.randperm(len(x), generator=generator, device=generator.device).cpu()
    held = round(_TEST * len(x))
    test, train = order[:held], order[held:]
    importances, informed = [], []
    for values, kind in zip(known.values.unbind(1), known.kinds, strict=True):
        seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
        importance, score = _forest(x, values, kind, train, test, trees, seed)
        importances.append(importance)
        informed.append(score)
    importance = torch.stack(importances, 1)
    return DCI(
        importance,
        by_code=_concentration(importance),
        completeness=_concentration(importance.mT),
        informativeness=torch.tensor(informed, dtype=torch.float64),
    )


def _forest(
    x: Tensor, values: Tensor, kind: str, train: Tensor, test: Tensor, trees: int, seed: int
) -> tuple[Tensor, float]:
    """Importance of each code ``(K,)`` and the informativeness of all for one factor."""
    settings = {"n_estimators": trees, "min_samples_leaf": _LEAF, "max_features": 1.0, "random_state": seed}
    inputs = x.numpy()
    if kind == "categorical":
        wanted = values.long().numpy()
        model = RandomForestClassifier(**settings).fit(inputs[train], wanted[train])
        error = np.mean(model.predict(inputs[test]) != wanted[test])
        # The commonest category, known from the training images as the forest is.
        constant = np.mean(np.bincount(wanted[train]).argmax() != wanted[test])
    else:
        wanted = columns(values, kind).numpy()
        model = RandomForestRegressor(**settings).fit(inputs[train], wanted[train].squeeze())
        error = np.mean((model.predict(inputs[test]).reshape(len(test), -1) - wanted[test]) ** 2)
        constant = np.mean((wanted[train].mean(0) - wanted[test]) ** 2)
    importance = torch.from_numpy(model.feature_importances_)
    # Where no split helps the forest gives zeros: no code is preferred.
    total = importance.sum()
    importance = importance / total if total > 0 else torch.full_like(importance, 1 / len(importance))
    return importance, float(1 - error / constant) if constant > 0 else float("nan")


def _concentration(importance: Tensor) -> Tensor:
    """One less the entropy of each row as a distribution, over its largest; a row of zeros has none, a single column is 1."""
    if importance.shape[1] == 1:
        return torch.ones(len(importance), dtype=importance.dtype)
    share = importance / importance.sum(1, keepdim=True).clamp_min(torch.finfo(importance.dtype).tiny)
    concentration = 1 - torch.special.entr(share).sum(1) / math.log(importance.shape[1])
    return torch.where(importance.sum(1) > 0, concentration, 0.0)

"""Few-shot heads that are brought to the minimum of a convex loss, vectorized over episodes.

Both work in the span of the support, by inner products: an episode has fewer support images than dimensions. Features are
brought to length 1 first (Tian et al. 2020, arXiv 2003.11539, section 3), so that a penalty means the same for every encoder.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import embedding, one_hot

from metatc2.ops.rows import unit_rows
from metatc2.transfer._lbfgs import softmax_regression


class _Convex:
    """Inner products of support and query, from the mean of the support: both heads have a free bias."""

    transductive: ClassVar[bool] = False

    def __init__(self, features: Tensor) -> None:
        directions = unit_rows(features)
        # A bias makes the origin free; rounding is least with the origin in the middle.
        self.directions = directions - directions.mean(0)

    def products(self, support: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
        """``(e, n, n)`` among the support and ``(e, q, n)`` of queries with it, in double precision; n = way · shot."""
        shots = embedding(support.flatten(1), self.directions)
        center = shots.mean(1, keepdim=True)
        shots = shots - center
        turned = shots.transpose(1, 2)
        return (shots @ turned).double(), ((embedding(query, self.directions) - center) @ turned).double()


class Ridge(_Convex):
    """Least squares to one-hot targets with a penalty, ``|XW + b − Y|² + alpha |W|²``, b free (Hoerl & Kennard 1970).

    The head of R2D2 (Bertinetto et al. 2019, arXiv 1805.08136, equation 5, in its Woodbury form), with a bias and without
    meta-learned scalars. It orders classes as scikit-learn's ``RidgeClassifier`` does.

    Args:
        features: float ``(N, D)``.

    >>> head = Ridge(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.1]]))
    >>> head.scores(torch.tensor([[[0], [1]]]), torch.tensor([[2]])).argmax(2).tolist()
    [[0]]
    """

    alpha: ClassVar[float] = 1.0

    def scores(self, support: Tensor, query: Tensor) -> Tensor:
        """See `Head`."""
        among, across = self.products(support, query)
        targets = _targets(support).double()
        mean = targets.mean(0)
        dual = torch.linalg.solve(
            among + self.alpha * torch.eye(len(targets), dtype=among.dtype, device=among.device), targets - mean
        )
        scores: Tensor = across @ dual + mean
        return scores


class Logistic(_Convex):
    """Multinomial logistic regression, ``Σ −log softmax(x W + b)[y] + |W|² / (2 C)``, b free, C = 1.

    As scikit-learn's ``LogisticRegression``; with two classes that has one vector where this has two, and the same minimum
    at twice the C.

    Args:
        features: float ``(N, D)``.

    >>> head = Logistic(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.1]]))
    >>> head.scores(torch.tensor([[[0], [1]]]), torch.tensor([[2]])).argmax(2).tolist()
    [[0]]
    """

    c: ClassVar[float] = 1.0
    tolerance: ClassVar[float] = 1e-14

    def scores(self, support: Tensor, query: Tensor) -> Tensor:
        """See `Head`."""
        among, across = self.products(support, query)
        # Rows whose inner products are `among`, in uncorrelated columns; directions of no length carry no weight.
        spectrum, axes = torch.linalg.eigh(among)
        spectrum = spectrum.clamp_min(0)
        least = spectrum[:, -1:] * torch.finfo(self.directions.dtype).eps * spectrum.shape[1]
        inverse = torch.where(spectrum > least, spectrum.rsqrt(), torch.zeros_like(spectrum))
        turn = axes * inverse.unsqueeze(1)
        labels = _targets(support).argmax(1).expand(len(support), -1)
        l2 = torch.full((len(support),), 1 / self.c, dtype=among.dtype, device=among.device)
        w, _ = softmax_regression(among @ turn, labels, support.shape[1], l2, tolerance=self.tolerance)
        scores: Tensor = (across @ turn) @ w[:, :-1] + w[:, -1:]
        return scores


def _targets(support: Tensor) -> Tensor:
    """One-hot ``(way · shot, way)``."""
    way, shot = support.shape[1:]
    return one_hot(torch.arange(way, device=support.device).repeat_interleave(shot), way)

"""R2D2: ridge regression on the support, in closed form."""

from __future__ import annotations

import math
from typing import Unpack

import torch
from pydantic import Field
from torch import Tensor, nn

from metatc2.errors import InputError
from metatc2.inner import Params
from metatc2.io.options import Factor
from metatc2.learners._heads import members, wide
from metatc2.learners.base import full_precision
from metatc2.learners.meta_learner import LabeledLearner, Predictor
from metatc2.learners.options import LearnerArguments, LearnerOptions
from metatc2.learners.registry import register_learner


class R2D2Options(LearnerOptions):
    """Options of R2D2."""

    strength: Factor = Field(1.0, gt=0, description="λ of the ridge at the start")
    scale: Factor = Field(10.0, description="factor on the scores at the start")


@register_learner(
    "r2d2",
    summary="ridge regression on the support, in closed form",
    source="Bertinetto et al. 2019, arXiv 1805.08136",
    options=R2D2Options,
)
class R2D2(LabeledLearner):
    """Ridge regression differentiable discriminator (Bertinetto et al. 2019, arXiv 1805.08136, equations 4 to 6).

    ``W = (XᵀX + λI)⁻¹ XᵀY``, by the Woodbury identity ``Xᵀ(XXᵀ + λI)⁻¹Y`` where the support is smaller than the width;
    X are the support features and a constant one, Y one-hot. Scores are ``α X_q W + β``; λ, α and β are meta-learned.

    Args:
        encoder: inputs → ``(N, d)``.
        strength: λ at the start, > 0 (its logarithm is learned).
        scale: α at the start: regression aims at 0 and 1, which are timid scores for a softmax.
        arguments: of `LabeledLearner`.

    Raises:
        InputError: if `strength` is not positive.

    >>> learner = R2D2(nn.Flatten(), strength=1e-6, scale=1.0)
    >>> x = torch.tensor([[-1.0], [1.0]])
    >>> learner.predict(x, torch.tensor([0, 1]), x).round(decimals=3).abs().tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """

    def __init__(
        self, encoder: nn.Module, *, strength: float = 1.0, scale: float = 10.0, **arguments: Unpack[LearnerArguments]
    ) -> None:
        super().__init__(encoder, **arguments)
        if not strength > 0:
            raise InputError(f"R2D2: strength must be > 0, got {strength}; without it the ridge may have no solution")
        self.log_strength = nn.Parameter(torch.tensor(math.log(strength)))
        self.scale, self.shift = nn.Parameter(torch.tensor(float(scale))), nn.Parameter(torch.tensor(0.0))

    def fit(self, theta: Params, x: Tensor, y: Tensor, way: int) -> Predictor:
        """See `LabeledLearner.fit`."""
        own = {**dict(self.named_parameters()), **theta}
        features = _with_one(self.vectors(theta, x))
        with full_precision(features):
            weights = ridge(features, members(y, way, features), own["log_strength"].exp())

        def scores(query: Tensor) -> Tensor:
            asked = _with_one(self.vectors(theta, query, x))
            with full_precision(asked):
                return own["scale"] * (asked @ weights) + own["shift"]

        return scores


def ridge(x: Tensor, y: Tensor, strength: Tensor) -> Tensor:
    """``argmin_W |X W − Y|² + strength |W|²``: ``(d, k)`` from ``(n, d)`` and ``(n, k)``, by the smaller of two systems."""
    n, d = x.shape

    def shifted(square: Tensor) -> Tensor:
        return square + strength * torch.eye(len(square), dtype=x.dtype, device=x.device)

    weights: Tensor = (
        x.T @ torch.linalg.solve(shifted(x @ x.T), y) if n <= d else torch.linalg.solve(shifted(x.T @ x), x.T @ y)
    )
    return weights


def _with_one(features: Tensor) -> Tensor:
    features = wide(features)
    return torch.cat([features, torch.ones_like(features[:, :1])], dim=1)

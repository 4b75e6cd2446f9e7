"""MatchingNet: an attention over the support, in a learned space."""

from __future__ import annotations

from typing import Unpack

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from metatc2.errors import InputError
from metatc2.inner import Params
from metatc2.io.options import Factor
from metatc2.learners._heads import members
from metatc2.learners.meta_learner import LabeledLearner, Predictor
from metatc2.learners.options import LearnerArguments, LearnerOptions
from metatc2.learners.registry import register_learner


class MatchingNetOptions(LearnerOptions):
    """Options of MatchingNet."""

    temperature: Factor = Field(10.0, gt=0, description="factor on the cosines; 1 in the paper")


@register_learner(
    "matching-net",
    summary="attention over the support in a learned space",
    source="Vinyals et al. 2016, arXiv 1606.04080",
    options=MatchingNetOptions,
)
class MatchingNet(LabeledLearner):
    """Matching networks (Vinyals et al. 2016, arXiv 1606.04080, equation 1), without full context embeddings.

    ``P(k | q) = Σ_i a(q, x_i) [y_i = k]``, a the softmax over the support of ``temperature · cos(f(q), f(x_i))``. Scores are
    ``log P``, so cross-entropy is the paper's loss.

    Args:
        encoder: inputs → ``(N, d)``.
        temperature: factor on the cosines, > 0; 1 in the paper, where P stays close to uniform.
        arguments: of `LabeledLearner`.

    Raises:
        InputError: if the temperature is not positive.

    >>> learner = MatchingNet(nn.Flatten())
    >>> x = torch.eye(2)
    >>> learner.predict(x, torch.tensor([0, 1]), x).exp().sum(1).tolist()
    [1.0, 1.0]
    """

    def __init__(self, encoder: nn.Module, *, temperature: float = 10.0, **arguments: Unpack[LearnerArguments]) -> None:
        super().__init__(encoder, **arguments)
        if not temperature > 0:
            raise InputError(f"MatchingNet: temperature must be > 0, got {temperature}; it multiplies the cosines")
        self.temperature = temperature

    def fit(self, theta: Params, x: Tensor, y: Tensor, way: int) -> Predictor:
        """See `LabeledLearner.fit`."""
        directions = normalize(self.vectors(theta, x), dim=-1)
        own = members(y, way, directions).bool()

        def log_probabilities(query: Tensor) -> Tensor:
            similar = self.temperature * normalize(self.vectors(theta, query, x), dim=-1) @ directions.T
            attention = similar.log_softmax(-1)[..., None]  # (Q, n, 1)
            return torch.where(own, attention, float("-inf")).logsumexp(1)

        return log_probabilities

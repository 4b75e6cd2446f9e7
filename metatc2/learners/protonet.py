"""ProtoNet: the nearest class mean in a learned space."""

from __future__ import annotations

from typing import Literal, Unpack, get_args

from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from metatc2.errors import InputError, nearest
from metatc2.inner import Params
from metatc2.io.options import Factor
from metatc2.learners._heads import class_means
from metatc2.learners.meta_learner import LabeledLearner, Predictor
from metatc2.learners.options import LearnerArguments, LearnerOptions
from metatc2.learners.registry import register_learner

Distance = Literal["euclidean", "cosine"]


class ProtoNetOptions(LearnerOptions):
    """Options of ProtoNet."""

    distance: Distance = Field("euclidean", description="how far a query is from a class mean")
    temperature: Factor = Field(
        default_factory=lambda known: 10.0 if known.get("distance") == "cosine" else 1.0,
        gt=0,
        description="factor on the scores; unset: 1, and 10 for cosines",
    )


@register_learner(
    "protonet",
    summary="the nearest class mean in a learned space",
    source="Snell et al. 2017, arXiv 1703.05175",
    options=ProtoNetOptions,
)
class ProtoNet(LabeledLearner):
    """Prototypical networks (Snell et al. 2017, arXiv 1703.05175, equations 1 and 2).

    Scores are ``−|f(q) − c_k|²``, c_k the mean of class k's support features; or ``temperature · cos(f(q), c_k)``.

    Args:
        encoder: inputs → ``(N, d)``.
        distance: ``"euclidean"`` or ``"cosine"``.
        temperature: factor on the scores, > 0; by default 1, and 10 for cosines, which lie between −1 and 1.
        arguments: of `LabeledLearner`.

    Raises:
        InputError: if the distance is unknown or the temperature not positive.

    >>> import torch
    >>> learner = ProtoNet(nn.Flatten())
    >>> learner.predict(torch.tensor([[0.0], [2.0]]), torch.tensor([0, 1]), torch.tensor([[1.5]])).tolist()
    [[-2.25, -0.25]]
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        distance: Distance = "euclidean",
        temperature: float | None = None,
        **arguments: Unpack[LearnerArguments],
    ) -> None:
        super().__init__(encoder, **arguments)
        if distance not in get_args(Distance):
            raise InputError(f"ProtoNet: unknown distance {distance!r}; {nearest(distance, get_args(Distance))}")
        self.distance = distance
        self.temperature = (1.0 if distance == "euclidean" else 10.0) if temperature is None else temperature
        if not self.temperature > 0:
            raise InputError(f"ProtoNet: temperature must be > 0, got {temperature}; it multiplies the scores")

    def fit(self, theta: Params, x: Tensor, y: Tensor, way: int) -> Predictor:
        """See `LabeledLearner.fit`."""
        means = class_means(self.vectors(theta, x), y, way)
        if self.distance == "cosine":
            directions = normalize(means, dim=-1)
            return lambda query: self.temperature * normalize(self.vectors(theta, query, x), dim=-1) @ directions.T

        def scores(query: Tensor) -> Tensor:
            apart = self.vectors(theta, query, x)[:, None] - means
            return -self.temperature * apart.square().sum(-1)

        return scores

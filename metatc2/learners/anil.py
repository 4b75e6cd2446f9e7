"""ANIL: MAML in which only the head adapts, on features that are computed once."""

from __future__ import annotations

from typing import Unpack

from pydantic import Field
from torch import Tensor
from torch.nn.functional import linear

from metatc2.inner import InnerLoop, Params
from metatc2.io.options import Factor
from metatc2.learners._heads import head_only
from metatc2.learners.maml import MAML, SharedHead
from metatc2.learners.meta_learner import Predictor
from metatc2.learners.options import InnerArguments, WithAdjoint
from metatc2.learners.registry import register_learner
from metatc2.models.heads import Classifier


class ANILOptions(SharedHead, WithAdjoint):
    """Options of ANIL."""

    inner_lr: Factor = Field(0.5, gt=0, description="learning rate of the inner loop")
    inner_steps: int = Field(5, ge=0, le=10**5, description="steps of the inner loop in training")


@register_learner(
    "anil",
    summary="MAML in which only the head adapts",
    source="Raghu et al. 2020, arXiv 1909.09157",
    options=ANILOptions,
)
class ANIL(MAML):
    """Almost no inner loop (Raghu et al. 2020, arXiv 1909.09157): the head adapts, the body is only meta-learned.

    The body runs once a task, so a step costs about as much as plain training, whatever the adjoint.

    Args:
        network: encoder and linear head.
        inner: how a task is learned.
        arguments: of `MAML`, without `adapt`.

    >>> import torch, torchopt
    >>> learner = ANIL(Classifier(torch.nn.Linear(2, 8), dim=8, way=2), InnerLoop(torchopt.sgd(0.1), steps=5))
    >>> learner.adapted
    ('network.head.weight', 'network.head.bias')
    """

    def __init__(self, network: Classifier, inner: InnerLoop, **arguments: Unpack[InnerArguments]) -> None:
        head_only(type(self).__name__, network, arguments)
        super().__init__(network, inner, adapt="head.*", **arguments)

    def fit(self, theta: Params, x: Tensor, y: Tensor, way: int) -> Predictor:
        """See `LabeledLearner.fit`."""
        start, rest = self.split(theta, way)
        # A part of the head that is frozen is used as it stands.
        head = {n: p for n, p in self.named_parameters() if n.startswith("network.head.") and n not in start}
        still = self.split({**theta, **head}, way)[1] if head else {}

        def scores(adapted: Params, features: Tensor) -> Tensor:
            both = {**still, **adapted}
            return linear(features, both["network.head.weight"], both.get("network.head.bias"))

        def loss(adapted: Params, features: Tensor) -> Tensor:
            return self.loss_of(scores(adapted, features), y)

        adapted = self.inner(loss, start, self.features(rest, x))
        return lambda query: scores(adapted, self.features(rest, query, x))

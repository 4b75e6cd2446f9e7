"""ANIL: MAML in which only the head adapts, on features that are computed once."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor
from torch.nn.functional import linear

from metatc2.inner import InnerLoop, Params
from metatc2.learners._heads import head_only
from metatc2.learners.maml import MAML
from metatc2.learners.meta_learner import Predictor
from metatc2.learners.registry import register_learner
from metatc2.models.heads import Classifier


@register_learner(
    "anil",
    summary="MAML in which only the head adapts",
    source="Raghu et al. 2020, arXiv 1909.09157",
    inner=True,
    linear_head=True,
)
class ANIL(MAML):
    """Almost no inner loop (Raghu et al. 2020, arXiv 1909.09157): the head adapts, the body is only meta-learned.

    The body runs once a task, so a step costs about as much as plain training, whatever the adjoint.

    Args:
        network: encoder and linear head.
        inner: how a task is learned.
        options: of `MAML`, without `adapt`.

    >>> import torch, torchopt
    >>> learner = ANIL(Classifier(torch.nn.Linear(2, 8), dim=8, way=2), InnerLoop(torchopt.sgd(0.1), steps=5))
    >>> learner.adapted
    ('network.head.weight', 'network.head.bias')
    """

    usual_lr: ClassVar[float] = 0.5
    usual_steps: ClassVar[int] = 5

    def __init__(self, network: Classifier, inner: InnerLoop, **options: Any) -> None:
        head_only(type(self).__name__, network, options)
        super().__init__(network, inner, adapt="head.*", **options)

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

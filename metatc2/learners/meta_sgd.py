"""Meta-SGD: MAML that also learns a rate for every parameter."""

from __future__ import annotations

from typing import Unpack

import torch
from pydantic import Field
from torch import Tensor, nn

from metatc2.inner import InnerLoop, Params
from metatc2.io.options import Factor
from metatc2.learners.base import ParameterGroup
from metatc2.learners.maml import MAML, MAMLOptions
from metatc2.learners.meta_learner import Predictor
from metatc2.learners.options import AdaptArguments
from metatc2.learners.registry import register_learner


class MetaSGDOptions(MAMLOptions):
    """Options of Meta-SGD."""

    rate_lr: Factor = Field(1e-2, gt=0, description="Adam's rate for the learned rates")


@register_learner(
    "meta-sgd",
    summary="MAML with a learned rate for every parameter",
    source="Li et al. 2017, arXiv 1707.09835",
    options=MetaSGDOptions,
)
class MetaSGD(MAML):
    """Meta-SGD (Li et al. 2017, arXiv 1707.09835, equation 3): ``θ' = θ − α ∘ ∇L``, with α learned element by element.

    Under any inner optimizer: its updates are multiplied by factors that start at 1, so that α starts as its learning rate.

    Args:
        network, inner: as in `MAML`.
        rate_lr: Adam learning rate of the factors.
        arguments: of `MAML`.

    >>> import torchopt
    >>> learner = MetaSGD(nn.Linear(2, 3), InnerLoop(torchopt.sgd(0.1), steps=2))
    >>> [tuple(factor.shape) for factor in learner.factors]
    [(3, 2), (3,)]
    """

    def __init__(
        self, network: nn.Module, inner: InnerLoop, *, rate_lr: float = 1e-2, **arguments: Unpack[AdaptArguments]
    ) -> None:
        super().__init__(network, inner, **arguments)
        own = dict(self.named_parameters())
        self.factors = nn.ParameterList(torch.ones_like(own[name]) for name in self.adapted)
        self.rate_lr = rate_lr

    def fit(self, theta: Params, x: Tensor, y: Tensor, way: int) -> Predictor:
        """See `LabeledLearner.fit`."""
        start, rest = self.split(theta, way)
        # A head's factors are cut or repeated as its rows are.
        factors, _ = self.split(
            {name: theta.get(f"factors.{i}", self.factors[i]) for i, name in enumerate(self.adapted)}, way
        )
        adapted = self.inner(self.support_loss(x, y, way), start, rest, rates=lambda step: factors)
        return lambda query: self.scores({**rest, **adapted}, query, way, x)

    def groups(self) -> list[ParameterGroup]:
        """The network under the trainer's optimizer, the factors under their own."""
        network = [p for p in self.network.parameters() if p.requires_grad]
        return [ParameterGroup("learner", network), ParameterGroup("rates", list(self.factors), lr=self.rate_lr)]

"""MAML++: MAML with a loss after every inner step, and a learned rate for every layer and step."""

from __future__ import annotations

from typing import Unpack

import torch
from pydantic import Field
from torch import Tensor, nn

from metatc2.inner import InnerLoop, Params
from metatc2.io.options import Factor, Share
from metatc2.learners.base import ParameterGroup
from metatc2.learners.maml import MAML, MAMLOptions
from metatc2.learners.meta_learner import Predictor
from metatc2.learners.options import AdaptArguments
from metatc2.learners.registry import register_learner


class MAMLPlusPlusOptions(MAMLOptions):
    """Options of MAML++."""

    annealing: Share = Field(
        0.3, description="share of the steps in which the loss after every step fades; 0: no such loss"
    )
    rate_lr: Factor = Field(1e-2, gt=0, description="Adam's rate for the learned rates")


@register_learner(
    "maml++",
    summary="MAML with a loss after every step, and learned rates by layer and step",
    source="Antoniou et al. 2019, arXiv 1810.09502",
    options=MAMLPlusPlusOptions,
)
class MAMLPlusPlus(MAML):
    """Multi-step loss and per-layer per-step rates (Antoniou et al. 2019, arXiv 1810.09502, section 4).

    The outer loss is ``Σ_k v_k L(query; θ after step k)``; v starts uniform and moves linearly to the last step alone, over the
    first `annealing` of training. Rates are factors on the inner optimizer's updates, one a parameter tensor and step,
    starting at 1. Steps beyond those trained use the last step's rates. The paper's per-step batch statistics are the policy
    `norm`; its derivative annealing is a choice of adjoint.

    Args:
        network, inner: as in `MAML`.
        annealing: share of the training steps in which the multi-step loss fades; 0 leaves it out.
        rate_lr: Adam learning rate of the factors.
        arguments: of `MAML`.

    >>> import torch, torchopt
    >>> learner = MAMLPlusPlus(nn.Linear(2, 3), InnerLoop(torchopt.sgd(0.1), steps=2))
    >>> x, y = torch.randn(6, 2), torch.tensor([0, 1, 2, 0, 1, 2])
    >>> learner.predict(x, y, x[:4]).shape
    torch.Size([4, 3])
    """

    def __init__(
        self,
        network: nn.Module,
        inner: InnerLoop,
        *,
        annealing: float = 0.3,
        rate_lr: float = 1e-2,
        **arguments: Unpack[AdaptArguments],
    ) -> None:
        super().__init__(network, inner, **arguments)
        like = next(network.parameters())
        self.factors = nn.Parameter(like.new_ones(max(inner.steps, 1), len(self.adapted)))
        self.annealing, self.rate_lr, self.progress = annealing, rate_lr, 0.0

    def path(self, theta: Params, x: Tensor, y: Tensor, way: int) -> tuple[list[Params], Params]:
        """The adapted parameters after each step, the start first; and the others."""
        start, rest = self.split(theta, way)
        factors = theta.get("factors", self.factors)

        def rates(step: int) -> Params:
            row = factors[min(step, len(factors) - 1)]
            return dict(zip(self.adapted, row, strict=True))

        return [start, *self.inner.path(self.support_loss(x, y, way), start, rest, rates=rates)], rest

    def fit(self, theta: Params, x: Tensor, y: Tensor, way: int) -> Predictor:
        """See `LabeledLearner.fit`."""
        path, rest = self.path(theta, x, y, way)
        return lambda query: self.scores({**rest, **path[-1]}, query, way, x)

    def task_loss(
        self, theta: Params, x: Tensor, y: Tensor, query_x: Tensor, query_y: Tensor, way: int
    ) -> tuple[Tensor, Tensor]:
        """See `LabeledLearner.task_loss`."""
        path, rest = self.path(theta, x, y, way)
        weights = self.step_weights(len(path) - 1)
        used = [k for k, weight in enumerate(weights) if weight] or [0]
        scores = {k: self.scores({**rest, **path[k + 1 if weights else 0]}, query_x, way, x) for k in used}
        loss = torch.stack([(weights[k] if weights else 1.0) * self.loss_of(s, query_y) for k, s in scores.items()])
        return loss.sum(), scores[used[-1]]

    def step_weights(self, steps: int) -> list[float]:
        """v at the present point of training, summing to 1."""
        fade = min(1.0, self.progress / self.annealing) if self.annealing and self.training else 1.0
        uniform = (1 - fade) / max(steps, 1)
        return [uniform + (fade if k == steps - 1 else 0.0) for k in range(steps)]

    def begin_step(self, step: int, steps: int) -> None:
        """Where training is: the multi-step loss fades with it."""
        self.progress = step / steps

    def groups(self) -> list[ParameterGroup]:
        """The network under the trainer's optimizer, the factors under their own."""
        network = [p for p in self.network.parameters() if p.requires_grad]
        return [ParameterGroup("learner", network), ParameterGroup("rates", [self.factors], lr=self.rate_lr)]

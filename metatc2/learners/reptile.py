"""Reptile: move the initialization toward what each task's training arrives at."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from metatc2.inner import Params
from metatc2.learners.maml import MAML, AdaptOptions
from metatc2.learners.registry import register_learner


class ReptileOptions(AdaptOptions):
    """Options of Reptile."""

    inner_steps: int = Field(5, ge=0, le=10**5, description="steps of the inner loop in training")


@register_learner(
    "reptile",
    summary="move toward where each task's training ends",
    source="Nichol et al. 2018, arXiv 1803.02999",
    options=ReptileOptions,
)
class Reptile(MAML):
    """Reptile (Nichol et al. 2018, arXiv 1803.02999, algorithm 2): θ follows the mean of ``θ − θ'`` over tasks.

    θ' comes from training on all samples of a task, its queries included, as in the paper; no derivative of the inner loop
    is taken, and none has a place here. Written as a loss: ``½ Σ |θ − sg θ'|²``. Parameters that do not adapt
    follow the loss on the task's samples under θ'.

    Args:
        network, inner, adapt, test_steps, arguments: as in `MAML`.

    >>> import torch, torchopt
    >>> from metatc2.inner import InnerLoop
    >>> learner = Reptile(torch.nn.Linear(2, 3), InnerLoop(torchopt.sgd(0.1), steps=2))
    >>> x, y = torch.randn(6, 2), torch.tensor([0, 1, 2, 0, 1, 2])
    >>> learner.predict(x, y, x[:4]).shape
    torch.Size([4, 3])
    """

    def task_loss(
        self, theta: Params, x: Tensor, y: Tensor, query_x: Tensor, query_y: Tensor, way: int
    ) -> tuple[Tensor, Tensor]:
        """See `LabeledLearner.task_loss`; the scores are those after learning from the support alone."""
        every_x, every_y = torch.cat([x, query_x]), torch.cat([y, query_y])
        start, rest = self.split(theta, way)
        with torch.no_grad():
            end = self.inner(self.support_loss(every_x, every_y, way), start, rest)
        end = {name: p.detach() for name, p in end.items()}
        loss = torch.stack([(start[name] - end[name]).square().sum() for name in start]).sum() / 2
        if rest:
            loss = loss + self.support_loss(every_x, every_y, way)(end, rest)
        with torch.no_grad():
            scores = self.fit(theta, x, y, way)(query_x)
        if self.calibrates:
            # L_tc2 is that of the latest forward, which must have a graph.
            self.scores({**rest, **start}, every_x, way)
        return loss, scores

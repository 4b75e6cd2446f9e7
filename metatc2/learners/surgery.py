"""Gradient surgery: the gradients of the tasks, combined so that they do not oppose each other."""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor, nn

from metatc2.episodes import Episode
from metatc2.errors import InputError
from metatc2.learners.aggregators.registry import AGGREGATORS, build_aggregator
from metatc2.learners.base import Outcome, full_precision
from metatc2.learners.branches import Branch
from metatc2.learners.carry import carry
from metatc2.learners.self_supervised import SelfSupervised
from metatc2.objectives import Objective


class GradientSurgery(SelfSupervised):
    """Self-supervised learning task by task, whose gradients are combined by an aggregator.

    The encoder runs once, on all images, so its batch statistics move as in plain training. Then there is one backward a task,
    for all parameters of encoder and heads: with M tasks a step takes about ``(1 + 2 M) / 3`` times as long as a plain one
    and holds M gradients. It is not told what the tasks are.

    A regularizer and a projector's penalty are no task's: their gradient is added to what the aggregator gives.

    Args:
        encoder, objective, projector, arguments: as in `SelfSupervised`; `per_task` is always true.
        aggregator: one of `metatc2.learners.aggregators.registry.AGGREGATORS`: ``"pcgrad"``, ``"nash-mtl"``, ``"upgrad"``, or
            ``"mean"``, which is plain training at M times its cost.

    Raises:
        InputError: if the aggregator is unknown, or `per_task` is false. In use: if there is one task alone.
        MissingPackage: if torchjd is not installed.

    >>> from metatc2.models.heads import Projector
    >>> from metatc2.objectives import SimCLR
    >>> body = nn.Sequential(nn.Flatten(), nn.Linear(16, 8))
    >>> learner = GradientSurgery(body, SimCLR(), projector=Projector(8, 16, 8), aggregator="upgrad")
    >>> learner.aggregator
    'upgrad'
    """

    def __init__(
        self,
        encoder: nn.Module,
        objective: Objective,
        *,
        projector: nn.Module,
        aggregator: str = "pcgrad",
        per_task: bool = True,
        **arguments: Unpack[Branch],
    ) -> None:
        if not per_task:
            raise InputError("GradientSurgery: without tasks kept apart there is one gradient alone; use per_task=True")
        super().__init__(encoder, objective, per_task=True, projector=projector, **arguments)
        build_aggregator(aggregator)
        self.aggregator = aggregator

    def forward(self, episode: Episode) -> Outcome:
        """Mean objective over the tasks; its backward leaves the aggregated gradient."""
        episode = self.seen(episode)
        branches = self.branches(episode)
        with full_precision(branches.online):
            embeddings = self.embed(branches.online, branches.target, branches.told)
            self._embeddings = embeddings.detach()
            losses = self.objective.per_task(embeddings)
            if len(losses) < 2:
                raise InputError("GradientSurgery needs at least 2 tasks an episode, found 1; cut the batch into more")
            ssl = losses.mean()
            loss, metrics = self.aggregated(losses) if losses.requires_grad else (ssl, {})
            loss = self.regularized(loss, ssl, branches)
        return Outcome(loss, {"ssl": ssl.detach(), **metrics}, branches.raw.detach())

    def aggregated(self, losses: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean of `losses` with the aggregated gradient, and how much the tasks' gradients oppose each other.

        Args:
            losses: ``(tasks,)`` with their graph, which is kept.

        Returns:
            A scalar, and the metrics ``cosine`` (mean over pairs of tasks), ``opposed`` (share of pairs whose gradients
            have a negative inner product) and ``kept`` (cosine of the aggregated gradient and the mean).
        """
        named = {name: p for name, p in self.named_parameters() if p.requires_grad}
        by_task = [
            torch.autograd.grad(each, list(named.values()), retain_graph=True, allow_unused=True) for each in losses
        ]
        # A parameter that no task reaches has no gradient, as in plain training.
        columns = dict(zip(named, zip(*by_task, strict=True), strict=True))
        used = [name for name, column in columns.items() if any(g is not None for g in column)]
        flat = torch.cat([_rows(columns[name], named[name]) for name in used], dim=1)
        flat = self.ranks.mean(flat)
        # What is not finite is for the trainer to report, not for a solver.
        finite = bool(torch.isfinite(flat).all())
        direction = AGGREGATORS[self.aggregator](flat) if finite else flat.mean(0)
        sizes = [named[name].numel() for name in used]
        gradients = {name: part.view_as(named[name]) for name, part in zip(used, direction.split(sizes), strict=True)}
        return carry(losses.detach().mean(), named, gradients), opposition(flat, direction)


def opposition(gradients: Tensor, direction: Tensor) -> dict[str, Tensor]:
    """How much gradients oppose each other, and what aggregation did.

    Args:
        gradients: ``(tasks, P)``, two tasks or more.
        direction: ``(P,)``.

    >>> shares = opposition(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]]), torch.tensor([0.0, 2.0]))
    >>> [round(value.item(), 4) for value in shares.values()]                        # cosine, opposed, kept
    [-0.3333, 0.3333, 1.0]
    """
    unit = nn.functional.normalize(gradients, dim=1)
    above = torch.ones(len(unit), len(unit), dtype=torch.bool, device=unit.device).triu(1)
    cosines = (unit @ unit.T)[above]
    kept = nn.functional.cosine_similarity(direction, gradients.mean(0), dim=0)
    return {"cosine": cosines.mean(), "opposed": (cosines < 0).to(unit.dtype).mean(), "kept": kept}


def _rows(gradients: tuple[Tensor | None, ...], parameter: Tensor) -> Tensor:
    return torch.stack([torch.zeros_like(parameter) if g is None else g for g in gradients]).flatten(1)

"""UMM: the late part of a pre-trained encoder tuned for spread features and even gradients at the early part's output."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from metatc2.conditioning.views.base import conditioned
from metatc2.episodes import Episode
from metatc2.errors import InputError
from metatc2.inner import InnerLoop, Params
from metatc2.learners.base import Learner, Outcome, ParameterGroup
from metatc2.learners.branches import Branches
from metatc2.learners.self_supervised import SelfSupervised
from metatc2.learners.side_information import SideInformation
from metatc2.models.stages import split_after
from metatc2.ops.coding_rate import balance, rate_reduction
from metatc2.ops.functional import Functional, call
from metatc2.ops.precision import unit, upcast


@dataclass(frozen=True)
class Batch:
    """One side of an episode, with what is the same for all parameters of the late part.

    Args:
        episode: as the objective sees it.
        early: output of the early part, ``(tasks · samples · views, ...)``, without a graph.
        told: what heads are told of its samples.
        target: z of the momentum branch; None where there is none.
    """

    episode: Episode
    early: Tensor
    told: SideInformation
    target: Tensor | None


class UMM(Learner):
    """Bi-level tuning of the late part of a trained encoder (Qiang et al. 2024, arXiv 2410.00772; our reading).

    Inner loop on the support side: the late part's parameters θ minimize ``L_ssl + β L_align``. Outer loop on the query side:
    θ steps on ``L_ssl − γ s ΔR`` at the adapted parameters, through the inner loop as its adjoint says. ΔR is the coding rate
    reduction of the encoder's output at length one, each image a class of its own, and ``s`` the `balance` of its rows. The
    early part is frozen, running statistics included, and so are the heads. The released code has the opposite sign of ΔR,
    takes it of the head's output, and its L_align has no gradient; here it has one, through the gradients it is made of.

    Args:
        learner: a trained one; its encoder is tuned in place.
        split: last stage of the early part, see `metatc2.models.stages.split_after`.
        inner: the inner loop; None *alternates*: even steps of the trainer are on the inner loss, odd ones on the outer loss.
        beta: β.
        gamma: γ.
        eps2: ε² of the coding rate.

    Raises:
        InputError: if the encoder cannot be split there, or the objective has no two views.
    """

    undivided = "it is differentiated through the late part of the encoder on whole batches"

    def __init__(
        self,
        learner: SelfSupervised,
        split: str,
        *,
        inner: InnerLoop | None,
        beta: float = 1.0,
        gamma: float = 1.0,
        eps2: float = 0.1,
    ) -> None:
        super().__init__()
        if not learner.objective.two_views:
            raise InputError(
                f"UMM compares two views of each image, and {learner.objective.name} makes its own images of one; use another "
                "objective"
            )
        self.early, self.late = split_after(learner.encoder, split)
        self.learner = learner.requires_grad_(False)
        self.frozen: list[nn.Module] = [self.early]
        if learner.objective.momentum:
            self.frozen.append(split_after(learner.target_encoder, split)[0])
        # Whose running statistics would move at every look at the loss; other heads have none.
        self.frozen += learner.told_of_views()
        if learner.objective.momentum and conditioned(learner.target_projector):
            self.frozen.append(learner.target_projector)
        self.late.requires_grad_(True)
        self.functional = Functional(self.late)
        self.inner, self.beta, self.gamma, self.eps2 = inner, beta, gamma, eps2
        self.step = 0
        self.train()

    def forward(self, episode: Episode) -> Outcome:
        """Outer loss of an episode; where steps alternate, in turn the inner and the outer one."""
        turn = self.inner is None and self.step % 2 == 0
        support = self.batch(episode, "support") if turn or self.inner is not None else None
        return self.step_on(support, None if turn else self.batch(episode, "query"))

    def step_on(self, support: Batch | None, query: Batch | None) -> Outcome:
        """The outer loss after the inner loop; of one batch alone, its own loss.

        Args:
            support: of the inner loss.
            query: of the outer loss.
        """
        theta: Params = dict(self.late.named_parameters())
        if query is None:
            assert support is not None  # one of them is there
            loss, metrics = self.inner_loss(theta, support)
            return Outcome(loss, metrics)
        if support is not None and self.inner is not None:
            theta = self.inner(lambda p: self.inner_loss(p, support)[0], theta)
        return self.outer_loss(theta, query)

    def batch(self, episode: Episode, side: str) -> Batch:
        """One side of an episode through the early part."""
        whole = getattr(episode, side)
        half = whole.images.shape[1] // 2
        parts = whole.map(lambda t: t[:, :half]), whole.map(lambda t: t[:, half:])
        seen = self.learner.seen(Episode(*parts, episode.identity))
        self.learner.objective.check(seen.images.shape[1])
        with torch.no_grad():
            early = self.early(seen.images.flatten(0, 2))
            told = self.learner.tell(seen)
        return Batch(seen, early, told, self.learner.momentum_branch(seen.images, told))

    def branches(self, batch: Batch, features: Tensor) -> Branches:
        """z of a batch by features of the late part, ``(tasks · samples · views, d)``."""
        online = self.learner.branches_of(features, batch.episode.images.shape[:3], batch.told)
        return replace(online, target=batch.target)

    def inner_loss(self, theta: Params, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """``L_ssl + β L_align``.

        Args:
            theta: parameters of the late part.
            batch: of the support side.
        """
        early = batch.early.detach().requires_grad_(self.beta > 0)
        branches = self.branches(batch, self.functional(theta, early))
        loss, ssl = self.learner.plain_loss(branches, moves=False)
        if not self.beta:
            return loss, {"ssl": ssl.detach()}
        (slopes,) = torch.autograd.grad(loss, early, create_graph=True)
        align = alignment_loss(slopes.float() if slopes.dtype != torch.float64 else slopes)
        return loss + self.beta * align, {"ssl": ssl.detach(), "align": align.detach()}

    def outer_loss(self, theta: Params, batch: Batch) -> Outcome:
        """``L_ssl − γ s ΔR``; the late part's running statistics move here.

        Args:
            theta: parameters of the late part.
            batch: of the query side.
        """
        own = dict(self.late.named_buffers())
        features = call(self.late, {**own, **theta}, batch.early)
        branches = self.branches(batch, features)
        loss, ssl = self.learner.plain_loss(branches)
        views = features.unflatten(0, (-1, batch.episode.images.shape[2]))
        with upcast(views[:, 0], views[:, 1]) as (one, other):
            rate = rate_reduction(unit(one), unit(other), self.eps2)
        scaled = self.gamma * balance(2 * len(views), views.shape[-1]) * rate
        return Outcome(loss - scaled, {"ssl": ssl.detach(), "rate_reduction": rate.detach()}, features.detach())

    def train(self, mode: bool = True) -> Self:
        """The early part stays in eval mode, and so do conditioned heads and an auxiliary loss."""
        super().train(mode)
        for part in self.frozen:
            part.eval()
        return self

    def begin_step(self, step: int, steps: int) -> None:
        """Which loss is in turn, where steps alternate."""
        self.step = step
        self.learner.begin_step(step, steps)

    def end_step(self) -> None:
        """The momentum branch and the objective's queue."""
        self.learner.end_step()

    def groups(self) -> list[ParameterGroup]:
        """The late part."""
        return [ParameterGroup("late", list(self.late.parameters()))]

    def exports(self) -> dict[str, nn.Module]:
        """The whole encoder."""
        return {"encoder": self.learner.encoder}

    def heads(self) -> dict[str, Tensor]:
        """Those of the learner, so that there can be another such stage."""
        return self.learner.heads()


def alignment_loss(slopes: Tensor) -> Tensor:
    """``JS(p ‖ uniform)``, ``p_i = (1/|g_i|) / Σ_k (1/|g_k|)``: 0 where all views pull equally hard, at most log 2; a scalar.

    Args:
        slopes: g, ``(N, ...)``, the gradient of a loss for the features of each view, with its graph.

    >>> [round(alignment_loss(torch.tensor([[1.0], [second]])).item(), 2) for second in (-1.0, 9.0)]
    [0.0, 0.1]
    """
    rows = slopes.flatten(1)
    # Of the order of one, whatever mean the loss takes: squares must not vanish, and p knows no unit.
    length = rows.detach().norm().clamp_min(len(rows) * torch.finfo(rows.dtype).tiny)  # of slopes that are all zero
    squares = (rows * (len(rows) / length)).square().sum(1)
    log_p = torch.log_softmax(-squares.clamp_min(torch.finfo(rows.dtype).eps ** 2).log() / 2, 0)
    log_u = torch.full_like(log_p, -math.log(len(rows)))
    log_m = torch.logaddexp(log_p, log_u) - math.log(2)
    return (log_p.exp() * (log_p - log_m) + log_u.exp() * (log_u - log_m)).sum() / 2

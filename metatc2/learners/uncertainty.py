"""Losses of the kinds of task weighted by a learned uncertainty."""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor, nn

from metatc2.episodes import Episode
from metatc2.errors import InputError
from metatc2.learners.base import Outcome, ParameterGroup, full_precision
from metatc2.learners.branches import Branch
from metatc2.learners.self_supervised import SelfSupervised
from metatc2.objectives import Objective


class UncertaintyWeighting(SelfSupervised):
    """``mean over tasks of exp(−s_k) L + s_k``, k the kind of the task (Kendall et al. 2018, arXiv 1705.07115, section 3.2).

    The log-variances s are learned and start at 0, where the gradient is the plain one. At its minimum ``exp(−s_k) = 1 / L_k``:
    kinds of small loss count more. Losses that can be negative have no minimum. (torchjd's ``UW``, which has half of
    this, weighs by place and not by kind.)

    Args:
        encoder, objective, projector, arguments: as in `SelfSupervised`; `per_task` is always true.
        kinds: how many kinds of task there are.
        lr: constant Adam learning rate of s; None takes the trainer's optimizer and schedule.

    Raises:
        InputError: if there is no kind, or `per_task` is false. In use: if the episode does not say what its tasks are, or
            knows another number of kinds.

    >>> from metatc2.models.heads import Projector
    >>> from metatc2.objectives import SimCLR
    >>> body = nn.Sequential(nn.Flatten(), nn.Linear(16, 8))
    >>> learner = UncertaintyWeighting(body, SimCLR(), projector=Projector(8, 16, 8), kinds=3)
    >>> [(group.name, group.lr) for group in learner.groups()]
    [('encoder', None), ('uncertainty', 0.01)]
    """

    def __init__(
        self,
        encoder: nn.Module,
        objective: Objective,
        *,
        projector: nn.Module,
        kinds: int,
        lr: float | None = 1e-2,
        per_task: bool = True,
        **arguments: Unpack[Branch],
    ) -> None:
        if not per_task:
            raise InputError(
                "UncertaintyWeighting: without tasks kept apart there is one loss alone; use per_task=True"
            )
        if kinds < 1:
            raise InputError(f"UncertaintyWeighting: kinds must be at least 1, found {kinds}")
        super().__init__(encoder, objective, per_task=True, projector=projector, **arguments)
        self.log_variance = nn.Parameter(torch.zeros(kinds))
        self.uncertainty_lr = lr

    def forward(self, episode: Episode) -> Outcome:
        """Weighted objective of the tasks."""
        identity = episode.identity
        if identity is None or len(identity.names) != len(self.log_variance):
            given = (
                "the episode does not say what its tasks are" if identity is None else f"it has {len(identity.names)}"
            )
            raise InputError(
                f"UncertaintyWeighting was built for {len(self.log_variance)} kinds of task and {given}; use a sampler whose "
                "episodes have an identity, and as many kinds"
            )
        episode = self.seen(episode)
        branches = self.branches(episode)
        with full_precision(branches.online):
            embeddings = self.embed(branches.online, branches.target, branches.told)
            self._embeddings = embeddings.detach()
            losses = self.objective.per_task(embeddings)
            told = branches.told.identity  # of all ranks
            assert told is not None  # the episode has one, and tasks are kept apart
            s = self.log_variance[told.kinds]
            ssl = losses.mean()
            loss = self.regularized(((-s).exp() * losses + s).mean(), ssl, branches)
        return Outcome(loss, {"ssl": ssl.detach(), **self.weights(identity.names)}, branches.raw.detach())

    def weights(self, names: tuple[str, ...]) -> dict[str, Tensor]:
        """``exp(−s)`` by name of the kind, for logs."""
        weights = (-self.log_variance.detach()).exp()
        return {f"weight {name}": weight for name, weight in zip(names, weights, strict=True)}

    def groups(self) -> list[ParameterGroup]:
        """Encoder and heads, and s by itself: it is not clipped along with them."""
        rest = [p for p in self.parameters() if p.requires_grad and p is not self.log_variance]
        return [
            ParameterGroup("encoder", rest),
            ParameterGroup("uncertainty", [self.log_variance], lr=self.uncertainty_lr),
        ]

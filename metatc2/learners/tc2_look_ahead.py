"""The look-ahead variant of TC²: evaluate factors by what they do to an adapted encoder."""

from __future__ import annotations

from functools import partial
from typing import Unpack

import torch
from torch import Tensor, nn

from metatc2.calibration import Calibrator
from metatc2.episodes import Episode
from metatc2.inner import InnerLoop, Params, inner_optimizer
from metatc2.inner.solver import gradient as gradient_of
from metatc2.learners.base import Outcome, full_precision
from metatc2.learners.carry import carry
from metatc2.learners.encode import widened
from metatc2.learners.shared_tc2 import SharedArguments, SharedTC2
from metatc2.learners.side_information import NOTHING, SideInformation
from metatc2.objectives import Objective
from metatc2.ops.functional import call


class LookAheadTC2(SharedTC2):
    """TC² whose ω is evaluated by transfer between tasks, the scheme of the sibling papers; several times the cost.

    For every task i: ``θ'_i = θ − α ∇_θ L_ssl(S_i; θ, ω)``, evaluated by ``L_ssl(Q_j; θ'_i, ω)`` on the *other* tasks j.
    ω follows the mean judgment plus ``L_tc2(ω)``; θ follows ``L_ssl(z̃ under ω)`` as in `SharedTC2` without inner steps.

    Args:
        encoder, objective, projector, calibrator: as in `SharedTC2`.
        inner: as there; it gives the adjoint of the step that looks ahead too.
        look_ahead_lr: α.
        arguments: as in `SharedTC2`.
    """

    undivided = "it adapts the whole encoder to each task and evaluates it on all others"

    def __init__(
        self,
        encoder: nn.Module,
        objective: Objective,
        *,
        projector: nn.Module,
        calibrator: Calibrator,
        inner: InnerLoop,
        look_ahead_lr: float = 0.05,
        **arguments: Unpack[SharedArguments],
    ) -> None:
        super().__init__(encoder, objective, projector=projector, calibrator=calibrator, inner=inner, **arguments)
        self.ahead = InnerLoop(inner_optimizer("sgd", look_ahead_lr), steps=1, adjoint=self.inner.adjoint)

    def forward(self, episode: Episode) -> Outcome:
        """Loss of θ under a constant ω, and of ω under a constant θ, in one sum."""
        omega = self.omega()
        episode = self.seen(episode)
        branches = self.branches(episode)
        with full_precision(branches.online):
            constant = {name: p.detach() for name, p in omega.items()}
            start = episode.support.index.shape[1] if self.outer_on == "query" else 0
            own = self.outcome(constant, omega, branches, start)
        value, gradient = self.look_ahead_loss(episode, omega, branches.told)
        # Stands for the loss after looking ahead: zero in value, with its gradient for ω and none for θ.
        carrier = carry(torch.zeros_like(value), omega, gradient)
        return Outcome(own.loss + carrier, {**own.metrics, "look_ahead_loss": value}, own.embeddings)

    def look_ahead_loss(
        self, episode: Episode, omega: Params, told: SideInformation = NOTHING
    ) -> tuple[Tensor, Params]:
        """Mean loss on the other tasks' queries after a step on one task's support, and its gradient for ω.

        One backward a task, so that memory does not grow with their number.

        Args:
            episode: its tasks.
            omega: parameters of the calibrator.
            told: of its samples; no gradient flows into it.
        """
        support, query = episode.support.images, episode.query.images
        theta = {name: p.detach() for name, p in self.encoder.named_parameters()}
        tasks, known = len(support), told.detached()
        of_support, of_query = (
            known.of_samples(part) for part in (slice(support.shape[1]), slice(support.shape[1], None))
        )
        values = []
        gradient = {name: torch.zeros_like(p) for name, p in omega.items()}
        for i in range(tasks):
            others = [j for j in range(tasks) if j != i] or [i]
            own = partial(self._task_loss, images=support[i : i + 1], omega=omega, told=of_support.of_tasks([i]))
            loss = self._task_loss(
                self.ahead(own, theta), images=query[others], omega=omega, told=of_query.of_tasks(others)
            )
            slopes = gradient_of(loss, list(omega.values()))
            for name, g in zip(gradient, slopes, strict=True):
                gradient[name] = gradient[name] if g is None else gradient[name] + g / tasks
            values.append(loss.detach())
        return torch.stack(values).mean(), gradient

    def _task_loss(self, theta: Params, *, images: Tensor, omega: Params, told: SideInformation = NOTHING) -> Tensor:
        # What an adapted encoder sees does not reach the running statistics of the real one: `call` copies buffers.
        features = call(self.encoder, theta, images.flatten(0, 2))
        features = widened(features).unflatten(0, images.shape[:3])
        raw = self._represent(features, self.projector, told.code)
        z = self._standardized(raw)
        target = self._target(images, told.target_code) if self.objective.momentum else None
        with full_precision(z):
            loss: Tensor = self.objective(self._heads(omega, self.calibrate(omega, z), target, told))
        return loss

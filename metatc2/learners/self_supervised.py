"""Plain self-supervised learning on episodes: the baseline, and the branch that TC² calibrates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from metatc2.calibration import standardise
from metatc2.episodes import Episode, TaskIdentity
from metatc2.errors import InputError, nearest
from metatc2.learners.base import Learner, Outcome, ParameterGroup, full_precision
from metatc2.module_state import copied
from metatc2.objectives import Embeddings, Objective
from metatc2.objectives.regularizers import Regularizer
from metatc2.replacing import refuse_outside_parameters

Where = Literal["backbone", "projector"]


@dataclass(frozen=True)
class Branches:
    """Representations of an episode.

    Args:
        raw: ``(tasks, samples, views, d)`` where z lives, before standardisation.
        online: z, with gradient.
        target: z of the momentum branch, without; None unless the objective has one.
        identity: what the tasks are, for projectors that are told.
    """

    raw: Tensor
    online: Tensor
    target: Tensor | None
    identity: TaskIdentity | None = None


class SelfSupervised(Learner):
    """Pre-train an encoder with a self-supervised objective.

    Args:
        encoder: images ``(N, C, H, W)`` → ``(N, d)``.
        objective: any `Objective`.
        projector: ``(..., d)`` → ``(..., D)``; it and the predictor are dropped after pre-training. One that has
            ``told = True`` is called with the episode's `TaskIdentity` too; its ``penalty()`` is added to the loss.
        predictor: ``(..., D)`` → ``(..., D)``, for objectives that ask for one.
        per_task: keep negatives and statistics within each task (the control "tasks only"); otherwise the whole batch
            is one task.
        standardise: standardise z over the episode (the control "standardised features").
        where: z is the encoder's output (``"backbone"``) or the projector's (``"projector"``).
        momentum: decay of the momentum branch, for objectives that have one.
        regularizer: what is asked of z besides, see `metatc2.objectives.regularizers`.
        weight: of the regularizer, in units of the objective's `pull`: objectives differ in it by a factor of fifty. By default
            the regularizer's own.

    Raises:
        InputError: if the objective asks for a predictor and none is given, or a name is unknown.
    """

    scale: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        objective: Objective,
        *,
        projector: nn.Module,
        predictor: nn.Module | None = None,
        per_task: bool = False,
        standardise: bool = False,
        where: Where = "backbone",
        momentum: float = 0.99,
        regularizer: Regularizer | None = None,
        weight: float | None = None,
    ) -> None:
        super().__init__()
        if objective.predictor and predictor is None:
            raise InputError(f"{type(objective).__name__} needs a predictor; pass predictor=Predictor(dim, hidden)")
        if where not in get_args(Where):
            raise InputError(f"unknown place {where!r} for z; {nearest(where, get_args(Where))}")
        self.encoder, self.projector, self.predictor = encoder, projector, predictor
        self.objective = objective
        self.per_task, self.standardise, self.where, self.momentum = per_task, standardise, where, momentum
        self.regularizer = regularizer
        self.weight = 0.0 if regularizer is None else regularizer.weight if weight is None else weight
        self.step = 0
        if objective.momentum:
            self.target_encoder = copied(encoder).requires_grad_(False)
            self.target_projector = copied(projector).requires_grad_(False)
        # Running average of the objective's pull. A constant within an episode, so that derivatives stay exact.
        self.register_buffer("scale", torch.zeros(()))
        self._copies_looked_at = False
        self._embeddings: Embeddings | None = None
        self._pull: Tensor | None = None

    def forward(self, episode: Episode) -> Outcome:
        """Mean objective over the tasks, and what is asked of z besides."""
        branches = self.branches(self.episode_seen(episode))
        with full_precision(branches.online):
            embeddings = self.embed(branches.online, branches.target, branches.identity)
            self._embeddings = embeddings.detach()  # a graph could not be copied, and would outlive the step
            ssl = self.objective(embeddings)
            loss = ssl + self.penalty()
            metrics = {"ssl": ssl.detach()}
            if self.weight:
                self._pull = pull(ssl, branches.online)
                asked = self.regularize(branches.online)
                loss, metrics["regularizer"] = loss + asked, asked.detach()
        return Outcome(loss, metrics, branches.raw.detach())

    def episode_seen(self, episode: Episode) -> Episode:
        """The episode as the objective judges it: its tasks one by one, or as one."""
        return episode if self.per_task else episode.merged()

    def branches(self, episode: Episode) -> Branches:
        """z of all samples: the encoder runs once, on all images of all tasks."""
        images = episode.images
        self.objective.check(images.shape[1])
        raw = self._represent(self.encoder, self.projector, images)
        target = self._target(images) if self.objective.momentum else None
        return Branches(raw, self._standardised(raw), target, episode.identity)

    def _target(self, images: Tensor) -> Tensor:
        # The first time with a graph: a copy that reached the encoder's own parameters would have one.
        with torch.set_grad_enabled(not self._copies_looked_at):
            z = self._represent(self.target_encoder, self.target_projector, images.detach())
        refuse_outside_parameters(self.target_encoder, self.encoder, z, "the momentum branch")
        self._copies_looked_at = True
        with torch.no_grad():
            return self._standardised(z)

    def regularize(self, z: Tensor) -> Tensor:
        """The regularizer of z times its weight, in units of the objective's `pull` (in a first step, of its own), a scalar.

        Args:
            z: ``(tasks, samples, views, d)``.
        """
        assert self.regularizer is not None  # there is a weight
        seen = standardise(z) if self.regularizer.standardized and not self.standardise else z
        scale = self.scale if bool(self.scale) or self._pull is None else self._pull
        value: Tensor = self.regularizer(seen, self.step)
        return self.weight * scale * value

    def penalty(self) -> Tensor | float:
        """What a projector that is told asks of its own parameters; 0 of others."""
        asks = getattr(self.projector, "penalty", None)
        return 0.0 if asks is None else asks()

    def judged(self, z: Tensor, target: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Representations as the objective judges them, for measures of conflict: here as they are.

        Args:
            z: ``(tasks, samples, views, d)``.
            target: the same of the momentum branch.
        """
        return z, target

    def begin_step(self, step: int, steps: int) -> None:
        """Regularizers draw their directions from the step."""
        self.step = step

    def embed(self, z: Tensor, target: Tensor | None, identity: TaskIdentity | None = None) -> Embeddings:
        """The heads that come after z.

        Args:
            z: ``(tasks, samples, views, d)``.
            target: the same of the momentum branch.
            identity: what the tasks are.

        Raises:
            InputError: if the projector is told the task and the episode does not say.
        """
        projections = z if self.where == "projector" else self._project(self.projector, z, identity)
        predictions = self.predictor(projections) if self.objective.predictor and self.predictor else None
        if target is not None and self.where == "backbone":
            with torch.no_grad():
                target = self._project(self.target_projector, target, identity)
        return Embeddings(projections, predictions, target)

    def _project(self, projector: nn.Module, z: Tensor, identity: TaskIdentity | None) -> Tensor:
        if not getattr(projector, "told", False):
            return projector(z)  # type: ignore[no-any-return]
        if identity is None:
            raise InputError(
                f"{type(projector).__name__} is told what each task is, and these episodes do not say; use a sampler whose "
                "tasks differ (episode.tasks_differ_by = views, domain or factor)"
            )
        return projector(z, identity)  # type: ignore[no-any-return]

    def end_step(self) -> None:
        """Move the momentum branch and the objective's queue."""
        if self.objective.momentum:
            average(self.target_encoder, self.encoder, self.momentum)
            average(self.target_projector, self.projector, self.momentum)
        if self._embeddings is not None:
            self.objective.update(self._embeddings)
            self._embeddings = None
        if self._pull is not None:
            # A tenth of the way a step; the first value replaces the zero.
            self.scale.lerp_(self._pull.to(self.scale.dtype), 0.1 if bool(self.scale) else 1.0)
            self._pull = None

    def groups(self) -> list[ParameterGroup]:
        """One group: encoder and heads."""
        return [ParameterGroup("encoder", [p for p in self.parameters() if p.requires_grad])]

    def _represent(self, encoder: Callable[[Tensor], Tensor], projector: nn.Module, images: Tensor) -> Tensor:
        flat = encoder(images.flatten(0, 2))
        flat = flat.float() if flat.dtype in (torch.bfloat16, torch.float16) else flat
        features: Tensor = flat.unflatten(0, images.shape[:3])
        if self.where == "projector":
            with full_precision(features):
                features = projector(features)
        return features

    def _standardised(self, h: Tensor) -> Tensor:
        return standardise(h) if self.standardise else h


def pull(objective: Tensor, features: Tensor) -> Tensor:
    """How strongly an objective acts on features: ``‖features‖ · ‖∂ objective / ∂ features‖``, without a graph.

    It has the objective's unit and, unlike its value, does not change when a constant is added to it.

    Args:
        objective: a scalar.
        features: what it was computed from; of features that need no gradient, the objective's magnitude is returned.
    """
    if not features.requires_grad:
        return objective.detach().abs()
    (gradient,) = torch.autograd.grad(objective, features, retain_graph=True)
    strength: Tensor = gradient.norm() * features.detach().norm()
    return strength


@torch.no_grad()
def average(target: nn.Module, online: nn.Module, decay: float) -> None:
    """Move the parameters of `target` towards those of `online`: ``t ← decay·t + (1 − decay)·o``."""
    for t, o in zip(target.parameters(), online.parameters(), strict=True):
        t.lerp_(o, 1 - decay)

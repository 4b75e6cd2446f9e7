"""Plain self-supervised learning on episodes: the baseline, and the branch that TC² calibrates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, get_args

import torch
from torch import Tensor, nn

from metatc2.calibration import standardize
from metatc2.episodes import Episode, TaskIdentity
from metatc2.errors import InputError, nearest
from metatc2.learners.base import Learner, Outcome, ParameterGroup, full_precision
from metatc2.objectives import Embeddings, Objective
from metatc2.objectives.regularizers import Regularizer
from metatc2.ops.module_state import copied
from metatc2.ops.replacing import refuse_outside_parameters

Where = Literal["backbone", "projector"]
Statistics = Literal["episode", "task"]  # where an outer loss takes negatives and batch statistics from


@dataclass(frozen=True)
class Branches:
    """Representations of an episode.

    Args:
        raw: ``(tasks, samples, views, d)`` where z lives, before standardization.
        online: z, with gradient.
        target: z of the momentum branch, without; None unless the objective has one.
    """

    raw: Tensor
    online: Tensor
    target: Tensor | None


class Branch(TypedDict, total=False):
    """Arguments of a `SelfSupervised` that keeps tasks apart, see there."""

    predictor: nn.Module | None
    where: Where
    momentum: float
    regularizer: Regularizer | None
    weight: float | None


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
        standardize: standardize z over the episode (the control "standardized features").
        where: z is the encoder's output (``"backbone"``) or the projector's (``"projector"``).
        momentum: decay of the momentum branch, for objectives that have one.
        regularizer: what is asked of z besides, see `metatc2.objectives.regularizers`.
        weight: of the regularizer, in units of the objective's `gradient_scale`, in which objectives differ by a factor of
            fifty. By default the regularizer's own.

    Raises:
        InputError: if the objective asks for a predictor and none is given, a name is unknown, or a projector that is told
            would not be: z is the projector's output, or all tasks are one. In use: if the episode does not say what its tasks
            are.
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
        standardize: bool = False,
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
        if is_told(projector) and not (per_task and where == "backbone"):
            raise InputError(
                f"{type(projector).__name__} is told what each task is, so tasks must be kept apart and z be the encoder's "
                "output; use per_task=True and where='backbone'"
            )
        self.encoder, self.projector, self.predictor = encoder, projector, predictor
        self.objective = objective
        self.per_task, self.standardize, self.where, self.momentum = per_task, standardize, where, momentum
        self.regularizer = regularizer
        self.weight = 0.0 if regularizer is None else regularizer.weight if weight is None else weight
        self.step = 0
        if objective.momentum:
            self.target_encoder = copied(encoder).requires_grad_(False)
            self.target_projector = copied(projector).requires_grad_(False)
        # Running average of the objective's gradient scale. A constant within an episode, so that derivatives stay exact.
        self.register_buffer("scale", torch.zeros(()))
        self._copies_looked_at = False
        self._embeddings: Embeddings | None = None
        self._gradient_scale: Tensor | None = None

    def forward(self, episode: Episode) -> Outcome:
        """Mean objective over the tasks, and what is asked of z besides."""
        seen = episode if self.per_task else episode.merged()
        branches = self.branches(seen)
        with full_precision(branches.online):
            embeddings = self.embed(branches.online, branches.target, seen.identity)
            self._embeddings = embeddings.detach()  # a graph could not be copied, and would outlive the step
            ssl = self.objective(embeddings)
            loss = self.regularized(ssl, ssl, branches.online)
        return Outcome(loss, {"ssl": ssl.detach()}, branches.raw.detach())

    def regularized(self, loss: Tensor, ssl: Tensor, z: Tensor) -> Tensor:
        """`loss`, the regularizer of z times its weight, and the projector's penalty where it has one.

        Args:
            loss: what is minimised.
            ssl: the objective, of which the `gradient_scale` is taken.
            z: ``(tasks, samples, views, d)``.
        """
        if self.weight:
            self._gradient_scale = gradient_scale(ssl, z)
            loss = loss + self.regularize(z)
        penalty: Any = getattr(self.projector, "penalty", None)
        return loss if penalty is None else loss + penalty()

    def branches(self, episode: Episode) -> Branches:
        """z of all samples: the encoder runs once, on all images of all tasks."""
        images = episode.images
        self.objective.check(images.shape[1])
        raw = self._represent(self.encoder, self.projector, images)
        target = self._target(images) if self.objective.momentum else None
        return Branches(raw, self._standardized(raw), target)

    def _target(self, images: Tensor) -> Tensor:
        # The first time with a graph: a copy that reached the encoder's own parameters would have one.
        with torch.set_grad_enabled(not self._copies_looked_at):
            z = self._represent(self.target_encoder, self.target_projector, images.detach())
        refuse_outside_parameters(self.target_encoder, self.encoder, z, "the momentum branch")
        self._copies_looked_at = True
        with torch.no_grad():
            return self._standardized(z)

    def regularize(self, z: Tensor) -> Tensor:
        """The regularizer of z times its weight, in units of the objective's `gradient_scale` (at first its own), a scalar.

        Args:
            z: ``(tasks, samples, views, d)``.
        """
        assert self.regularizer is not None  # there is a weight
        seen = standardize(z) if self.regularizer.standardized and not self.standardize else z
        scale = self.scale if bool(self.scale) or self._gradient_scale is None else self._gradient_scale
        value: Tensor = self.regularizer(seen, self.step)
        return self.weight * scale * value

    def objective_inputs(self, z: Tensor, target: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """What the objective gets, for measures of conflict: here the representations as they are.

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
        projections = z if self.where == "projector" else project(self.projector, z, identity)
        predictions = self.predictor(projections) if self.objective.predictor and self.predictor else None
        if target is not None and self.where == "backbone":
            with torch.no_grad():
                target = project(self.target_projector, target, identity)
        return Embeddings(projections, predictions, target)

    def end_step(self) -> None:
        """Move the momentum branch and the objective's queue."""
        if self.objective.momentum:
            average(self.target_encoder, self.encoder, self.momentum)
            average(self.target_projector, self.projector, self.momentum)
        if self._embeddings is not None:
            self.objective.update(self._embeddings)
            self._embeddings = None
        if self._gradient_scale is not None:
            # A tenth of the way a step; the first value replaces the zero.
            self.scale.lerp_(self._gradient_scale.to(self.scale.dtype), 0.1 if bool(self.scale) else 1.0)
            self._gradient_scale = None

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

    def _standardized(self, h: Tensor) -> Tensor:
        return standardize(h) if self.standardize else h


def is_told(projector: nn.Module) -> bool:
    """Whether a projector is called with the identity of the tasks."""
    return bool(getattr(projector, "told", False))


def project(projector: nn.Module, z: Tensor, identity: TaskIdentity | None) -> Tensor:
    """What a projector makes of z, ``(tasks, samples, views, d)``; one that is told gets the identity of the tasks.

    Raises:
        InputError: if it is told and there is none.
    """
    if not is_told(projector):
        projections: Tensor = projector(z)
        return projections
    if identity is None:
        raise InputError(
            f"{type(projector).__name__} is told what each task is, and the episode does not say; use a sampler whose tasks "
            "differ (episode.tasks_differ_by = views, domain or factor)"
        )
    told: Tensor = projector(z, identity)
    return told


def gradient_scale(objective: Tensor, features: Tensor) -> Tensor:
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

"""Plain self-supervised learning on episodes: the baseline, and the branch that TC² calibrates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from metatc2.calibration import standardize
from metatc2.conditioning.views.base import conditioned
from metatc2.episodes import Episode, Samples, TaskIdentity
from metatc2.errors import InputError
from metatc2.learners.base import Learner, Outcome, ParameterGroup, full_precision
from metatc2.learners.branches import Branches, Where
from metatc2.learners.encode import encode, merged, widened
from metatc2.learners.gradient_scale import gradient_scale
from metatc2.learners.momentum import average
from metatc2.learners.side_information import NOTHING, SideInformation
from metatc2.learners.ssl_parts import require_parts
from metatc2.learners.told_heads import encoded, project
from metatc2.objectives import Embeddings, Objective
from metatc2.objectives.auxiliary import Auxiliary
from metatc2.objectives.regularizers import Regularizer
from metatc2.ops.module_state import copied
from metatc2.ops.replacing import refuse_outside_parameters


class SelfSupervised(Learner):
    """Pre-train an encoder with a self-supervised objective.

    Args:
        encoder: images ``(N, C, H, W)`` → ``(N, d)``.
        objective: any `Objective`.
        projector: ``(..., d)`` → ``(..., D)``; it and the predictor are dropped after pre-training. One that has
            ``told = True`` is called with the episode's `TaskIdentity` too; its ``penalty()`` is added to the loss. One
            with ``conditioned = True`` is called with what its ``encode`` makes of the views' descriptors. One with a
            `torch.nn.BatchNorm1d`, which takes ``(N, d)`` alone (lightly's heads), is called with the rows of each task: in
            training it normalizes over the samples and views of a task, in eval mode by its running statistics, which move
            with every call, those of an inner loop among them.
        predictor: ``(..., D)`` → ``(..., D)``, for objectives that ask for one; it may be conditioned or take rows too.
        per_task: keep negatives and statistics within each task (the control "tasks only"); otherwise the whole batch
            is one task.
        standardize: standardize z over the episode (the control "standardized features").
        where: z is the encoder's output (``"backbone"``) or the projector's (``"projector"``).
        momentum: decay of the momentum branch, for objectives that have one.
        regularizer: what is asked of z besides, see `metatc2.objectives.regularizers`.
        weight: of the regularizer, in units of the objective's `gradient_scale`, in which objectives differ by a factor of
            fifty. By default the regularizer's own.
        auxiliary: what the encoder's output shall tell of the views, see `metatc2.objectives.auxiliary`.
        auxiliary_weight: of it. By default its own.

    Raises:
        InputError: if the objective is no `Objective`, or asks for a predictor and none is given, a name is unknown, or a
            projector that is told would not be: z is the projector's output, or all tasks are one; or there is an auxiliary
            loss and z is the projector's output, or the objective has no two views to compare. In use: if the episode does
            not say what its tasks are, or how its views were made, and a part needs it.

    >>> import torch
    >>> from metatc2.episodes import Episode
    >>> from metatc2.models import Projector
    >>> from metatc2.objectives import SimCLR
    >>> learner = SelfSupervised(nn.Flatten(), SimCLR(), projector=Projector(16, 8, 4))
    >>> learner(Episode.of_views(torch.rand(8, 1, 4, 4), torch.rand(8, 1, 4, 4), tasks=2)).loss.ndim
    0
    """

    gathers = True
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
        auxiliary: Auxiliary | None = None,
        auxiliary_weight: float | None = None,
    ) -> None:
        super().__init__()
        require_parts(type(self).__name__, objective, projector, predictor, auxiliary, where=where, per_task=per_task)
        self.encoder, self.projector, self.predictor = encoder, projector, predictor
        self.objective = objective
        self.per_task, self.standardize, self.where, self.momentum = per_task, standardize, where, momentum
        self.regularizer = regularizer
        self.weight = 0.0 if regularizer is None else regularizer.weight if weight is None else weight
        self.auxiliary = auxiliary
        own = 0.0 if auxiliary is None else auxiliary.weight
        self.auxiliary_weight = own if auxiliary_weight is None or auxiliary is None else auxiliary_weight
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
        branches = self.branches(self.seen(episode))
        loss, ssl = self.plain_loss(branches)
        return Outcome(loss, {"ssl": ssl.detach()}, branches.raw.detach())

    def seen(self, episode: Episode) -> Episode:
        """The episode as the objective sees it: its tasks apart or all of it as one, with images that it makes itself."""
        # The tasks of several ranks become one when their features are brought together.
        episode = episode if self.per_task or not self.ranks.alone else episode.merged()
        return replace(episode, support=self._prepared(episode.support), query=self._prepared(episode.query))

    def _prepared(self, side: Samples) -> Samples:
        images, answers = self.objective.prepare(side.images)
        if images is side.images and answers is None:
            return side
        how = side.descriptors
        if how is not None and not self.objective.two_views:  # all are made of the first view
            how = how[:, :, :1].expand(-1, -1, images.shape[2], -1)
        return replace(side, images=images, descriptors=how, answers=answers)

    def plain_loss(self, branches: Branches, *, moves: bool = True) -> tuple[Tensor, Tensor]:
        """The objective with what is asked of z besides, and the objective alone; scalars.

        Args:
            branches: of an episode.
            moves: whether the objective's queue is to move by these samples after the step.
        """
        with full_precision(branches.online):
            z, target = self.objective_inputs(branches.online, branches.target, branches.told)
            embeddings = self.embed(z, target, branches.told)
            if moves:
                self._embeddings = embeddings.detach()  # a graph could not be copied, and would outlive the step
            ssl = self.objective(embeddings)
            return self.regularized(ssl, ssl, branches), ssl

    def regularized(self, loss: Tensor, ssl: Tensor, branches: Branches) -> Tensor:
        """`loss`, the regularizer of z and the auxiliary loss times their weights, and the projector's penalty if it has one.

        Args:
            loss: what is minimised.
            ssl: the objective, of which the `gradient_scale` is taken.
            branches: z, and what is told of its views.
        """
        if self.weight:
            self._gradient_scale = gradient_scale(ssl, branches.online)
            loss = loss + self.regularize(branches.online)
        penalty: Any = getattr(self.projector, "penalty", None)
        loss = loss if penalty is None else loss + penalty()
        return loss + self.auxiliary_loss(branches) if self.auxiliary_weight else loss

    def auxiliary_loss(self, branches: Branches) -> Tensor:
        """The auxiliary loss of the encoder's output times its weight, a scalar."""
        assert self.auxiliary is not None  # there is a weight
        descriptors = branches.told.descriptors
        assert descriptors is not None  # `tell` has looked
        value: Tensor = self.auxiliary(branches.raw, descriptors)
        return self.auxiliary_weight * value

    def branches(self, episode: Episode) -> Branches:
        """z of all samples: the encoder runs once, on all images of all tasks.

        Args:
            episode: as `seen` gives it.
        """
        images, support = episode.images, episode.support.images.shape[1]
        if self.ranks.alone:
            self.objective.check(images.shape[1])
        told = self.tell(episode)
        features = self._of_all_ranks(self._encoded(self.encoder, images), support)
        self.objective.check(features.shape[1])
        target = self._target(images, told.target_code, support) if self.objective.momentum else None
        return replace(self._branches(features, told), target=target)

    def branches_of(self, features: Tensor, shape: Sequence[int], told: SideInformation) -> Branches:
        """z of all samples by features of their images, without the momentum branch.

        Args:
            features: ``(tasks · samples · views, d)``.
            shape: tasks, samples, views.
            told: of these samples.
        """
        return self._branches(widened(features).unflatten(0, tuple(shape)), told)

    def momentum_branch(self, images: Tensor, told: SideInformation) -> Tensor | None:
        """z of the momentum branch; None where the objective has none.

        Args:
            images: ``(tasks, samples, views, C, H, W)``.
            told: of these samples.
        """
        return self._target(images, told.target_code) if self.objective.momentum else None

    def _branches(self, features: Tensor, told: SideInformation) -> Branches:
        raw = self._represent(features, self.projector, told.code)
        return Branches(raw, self._standardized(raw), None, told)

    def _encoded(self, encoder: nn.Module, images: Tensor) -> Tensor:
        """Features of this rank's images, ``(tasks, samples, views, d)``."""
        features = encode(encoder, images.flatten(0, 2), self.ranks, self.parts)
        by_task: Tensor = widened(features).unflatten(0, images.shape[:3])
        return by_task

    def _of_all_ranks(self, x: Tensor, support: int) -> Tensor:
        """Of the tasks of all ranks, as one task where they are not kept apart.

        Args:
            x: ``(tasks, samples, ...)`` of this rank.
            support: samples on the support side of each task.
        """
        if self.ranks.alone:
            return x
        x = self.ranks.gather(x)
        return x if self.per_task else merged(x, support)

    def tell(self, episode: Episode) -> SideInformation:
        """What the heads are told of an episode; descriptors are encoded once.

        Raises:
            InputError: if a head or the auxiliary loss needs descriptors and the episode has none.
        """
        parts, support = self.told_of_views(), episode.support.images.shape[1]
        identity = episode.identity
        if identity is not None and not self.ranks.alone:
            identity = identity.map(self.ranks.gather) if self.per_task else None
        answers = None if episode.answers is None else self._of_all_ranks(episode.answers, support)
        if not parts:
            return SideInformation(identity, answers=answers)
        descriptors = episode.descriptors
        if descriptors is None:
            raise InputError(
                f"{type(parts[0]).__name__} is told how each view was made, and the episode has no descriptors; sample views "
                "by metatc2.augment.Views, or give Samples(descriptors=...)"
            )
        return replace(self.tell_descriptors(self._of_all_ranks(descriptors, support), identity), answers=answers)

    def tell_descriptors(self, descriptors: Tensor, identity: TaskIdentity | None = None) -> SideInformation:
        """What the heads are told of views ``(tasks, samples, views, P)``."""
        code, predictor_code = (encoded(head, descriptors) for head in (self.projector, self.predictor))
        target_code = None
        if self.objective.momentum:
            with torch.no_grad():
                target_code = encoded(self.target_projector, descriptors)
        return SideInformation(identity, descriptors, code, predictor_code, target_code)

    def told_of_views(self) -> list[nn.Module]:
        """The parts that need the descriptors of views: conditioned heads, and the auxiliary loss."""
        heads = [head for head in (self.projector, self.predictor) if head is not None and conditioned(head)]
        return [*heads, self.auxiliary] if self.auxiliary is not None and self.auxiliary_weight else heads

    def _target(self, images: Tensor, code: Tensor | None = None, support: int = 0) -> Tensor:
        # The first time with a graph: a copy that reached the encoder's own parameters would have one.
        with torch.set_grad_enabled(not self._copies_looked_at):
            features = self._of_all_ranks(self._encoded(self.target_encoder, images.detach()), support)
            z = self._represent(features, self.target_projector, code)
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

    def objective_inputs(
        self, z: Tensor, target: Tensor | None, told: SideInformation = NOTHING
    ) -> tuple[Tensor, Tensor | None]:
        """What the objective gets where nothing is learned by it but the encoder: here the representations as they are.

        Args:
            z: ``(tasks, samples, views, d)``.
            target: the same of the momentum branch.
            told: of these samples.
        """
        return z, target

    def begin_step(self, step: int, steps: int) -> None:
        """Regularizers draw their directions from the step."""
        self.step = step

    def embed(self, z: Tensor, target: Tensor | None, told: SideInformation = NOTHING) -> Embeddings:
        """The heads that come after z.

        Args:
            z: ``(tasks, samples, views, d)``.
            target: the same of the momentum branch.
            told: of these samples.

        Raises:
            InputError: if the projector is told the task and the episode does not say.
        """
        projections = z if self.where == "projector" else project(self.projector, z, told.identity, told.code)
        predictions = None
        if self.objective.predictor and self.predictor:
            predictions = project(self.predictor, projections, told.identity, told.predictor_code)
        if target is not None and self.where == "backbone":
            with torch.no_grad():
                target = project(self.target_projector, target, told.identity, told.target_code)
        return Embeddings(projections, predictions, target, told.answers)

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

    def heads(self) -> dict[str, Tensor]:
        """Tensors of all but the encoder, by their names in the learner's state: projector, predictor, momentum branch, ..."""
        state = self.state_dict()
        return {name: t for name, t in state.items() if isinstance(t, Tensor) and not name.startswith("encoder.")}

    def groups(self) -> list[ParameterGroup]:
        """One group: encoder and heads."""
        return [ParameterGroup("encoder", [p for p in self.parameters() if p.requires_grad])]

    def _represent(self, features: Tensor, projector: nn.Module, code: Tensor | None = None) -> Tensor:
        """z of features ``(tasks, samples, views, d)``, before standardization."""
        if self.where == "projector":
            with full_precision(features):
                features = project(projector, features, None, code)
        return features

    def _standardized(self, h: Tensor) -> Tensor:
        return standardize(h) if self.standardize else h

"""TC² whose weights each task adapts on its own support; no task is told what it is."""

from __future__ import annotations

from typing import Literal, Unpack, get_args

import torch
from torch import Tensor, nn

from metatc2.calibration.task_weights import TaskCalibrator
from metatc2.episodes import Episode
from metatc2.errors import InputError, nearest
from metatc2.inner import InnerLoop, Params
from metatc2.learners.adaptation import Adaptation
from metatc2.learners.base import Outcome, ParameterGroup, full_precision
from metatc2.learners.branches import Branch, Branches, Statistics
from metatc2.learners.self_supervised import SelfSupervised
from metatc2.learners.side_information import NOTHING, SideInformation
from metatc2.learners.told_heads import is_told
from metatc2.objectives import Embeddings, Objective

OuterOn = Literal["whole", "query", "others"]
SILENT = 1e-9  # of a gradient of the gates: the objective does not speak


class TC2(SelfSupervised):
    """Task conflict calibration with per-task adaptation (Guo et al., arXiv 2511.13787; our reading).

    Inner loop, all tasks at once: from a shared start, T steps of each task i on ``γ L_ssl(support_i calibrated) + λ_s L_w``
    for its own weights m_i, with learned rates. Outer loop: encoder, heads, factors V, the start and the rates step on
    ``mean_i L_ssl(task i under m_i)`` through the inner loop, plus what V answers for. The factors are shared, so tasks that
    disagree keep different factors of one representation in place of throwing away whatever any of them throws away.

    Args:
        encoder, objective, projector, standardize: as in `SelfSupervised`.
        calibrator: factors and weights.
        inner: how the weights adapt, at rate 1 (the learned rates multiply it); its steps T may be 0.
        gamma: γ.
        outer_on: the outer loss is of the ``"whole"`` task, its ``"query"`` side, or the whole task and the query sides of
            the ``"others"`` under its weights (transferability as the paper words it).
        statistics: the outer loss takes its negatives and batch statistics from each ``"task"`` or the whole ``"episode"``.
        lr: Adam's learning rate of the start and the rates.
        branch: predictor, where, momentum, regularizer and weight, as in `SelfSupervised`.

    Raises:
        InputError: if the objective is no `Objective`, a name is unknown, the projector is told what each task is, or the
            calibrator is of another width than the representation (in use, where the encoder has no ``dim`` that says it).

    >>> import torch, torchopt
    >>> from metatc2.calibration import TaskCalibrator
    >>> from metatc2.episodes import Episode
    >>> from metatc2.models import Projector
    >>> from metatc2.objectives import SimCLR
    >>> learner = TC2(nn.Flatten(), SimCLR(), projector=Projector(16, 8, 4), calibrator=TaskCalibrator(16, factors=4),
    ...               inner=InnerLoop(torchopt.sgd(1.0), steps=2))
    >>> learner(Episode.of_views(torch.rand(8, 1, 4, 4), torch.rand(8, 1, 4, 4), tasks=2)).loss.requires_grad
    True
    """

    sensitivity: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        objective: Objective,
        *,
        projector: nn.Module,
        calibrator: TaskCalibrator,
        inner: InnerLoop,
        gamma: float = 1.0,
        standardize: bool = False,
        outer_on: OuterOn = "whole",
        statistics: Statistics = "task",
        lr: float = 2e-2,
        **branch: Unpack[Branch],
    ) -> None:
        super().__init__(encoder, objective, projector=projector, per_task=True, standardize=standardize, **branch)
        if is_told(projector):
            raise InputError(
                f"TC² is told nothing, and {type(projector).__name__} is told what each task is; use a Projector, or the "
                "control SelfSupervised(..., per_task=True)"
            )
        if statistics not in get_args(Statistics):
            raise InputError(f"unknown statistics {statistics!r}; {nearest(statistics, get_args(Statistics))}")
        if outer_on not in get_args(OuterOn):
            raise InputError(f"unknown outer_on {outer_on!r}; {nearest(outer_on, get_args(OuterOn))}")
        width = getattr(encoder, "dim", None)
        if self.where == "backbone" and type(width) is int:  # of an encoder that does not say, at the first forward
            calibrator.check(width)
        self.calibrator, self.inner, self.gamma = calibrator, inner, gamma
        self.outer_on, self.statistics = outer_on, statistics
        self.calibrator_lr = lr
        # Of the first episode, kept from then on: a start of the rates that fits the objective, which they go on from.
        self.register_buffer("sensitivity", torch.zeros(()))

    def forward(self, episode: Episode) -> Outcome:
        """Outer loss of an episode, differentiable through the inner loop."""
        episode = self.seen(episode)
        branches = self.branches(episode)
        support = episode.support.index.shape[1]
        z, target, told = branches.online, branches.target, branches.told
        if self.inner.steps:
            self.objective.check(support)
        if self.outer_on != "whole":
            self.objective.check(z.shape[1] - support)
        if self.outer_on == "others" and len(z) < 2:
            raise InputError("TC² evaluated on the other tasks' queries needs 2 tasks an episode or more, found 1")
        with full_precision(z):
            own_target = None if target is None else target[:, :support]
            adapted = self.adapt(z[:, :support], own_target, told.of_samples(slice(support)))
            ssl = self._outer_loss(branches, adapted, support)
            own = self.calibrator.loss(z)
            loss = self.regularized(ssl + own, ssl, branches)
        metrics = {"ssl": ssl.detach(), "tc2": own.detach(), **self._watched(adapted)}
        return Outcome(loss, metrics, branches.raw.detach())

    def adapt(self, z: Tensor, target: Tensor | None = None, told: SideInformation = NOTHING) -> Params:
        """Weights of every task after its inner loop, by name with a leading axis of tasks.

        Args:
            z: support side of the representation, ``(tasks, samples, views, d)``.
            target: the same of the momentum branch.
            told: of these samples.
        """
        start = self.calibrator.start(len(z))
        if not self.inner.steps:
            return start
        unit = self._unit(start, z, target, told)

        def loss(weights: Params) -> Tensor:
            return self._support_losses(weights, z, target, told).sum() / unit

        return self.inner(loss, start, rates=self.calibrator.rates)

    def calibrate(self, z: Tensor, adapted: Params) -> Tensor:
        """z̃, see `TaskCalibrator`."""
        calibrated: Tensor = self.calibrator(z, adapted)
        return calibrated

    def objective_inputs(
        self, z: Tensor, target: Tensor | None, told: SideInformation = NOTHING
    ) -> tuple[Tensor, Tensor | None]:
        """z̃ under the weights that each task adapts on these very samples."""
        adapted = self.adapt(z, target, told)
        if target is not None:
            with torch.no_grad():
                target = self.calibrate(target, adapted)
        return self.calibrate(z, adapted), target

    def groups(self) -> list[ParameterGroup]:
        """Encoder and heads; V, under the same optimizer but clipped by itself; start and rates under an Adam of their own."""
        basis = self.calibrator.basis
        own = {id(p): p for p in self.calibrator.parameters()}
        rest = [p for p in self.parameters() if p.requires_grad and id(p) not in own]
        small = [p for p in own.values() if p is not basis]
        return [
            ParameterGroup("encoder", rest),
            ParameterGroup("factors", [basis]),
            ParameterGroup("weights", small, lr=self.calibrator_lr),
        ]

    def adaptation(self) -> Adaptation:
        """What adapting to new samples takes beside the encoder; its parts are the learner's own."""
        return Adaptation(
            calibrator=self.calibrator,
            projector=self.projector,
            predictor=self.predictor,
            objective=self.objective,
            sensitivity=self.sensitivity,
        )

    def exports(self) -> dict[str, nn.Module]:
        """The encoder, and what adapts where that works on the encoder's output."""
        return super().exports() | ({"calibrator": self.adaptation()} if self.where == "backbone" else {})

    def _support_losses(self, weights: Params, z: Tensor, target: Tensor | None, told: SideInformation) -> Tensor:
        losses = self.gamma * self.objective.per_task(self._embedded(z, target, told, weights))
        return losses + self.calibrator.sparsity(weights) if self.calibrator.lambda_sparsity else losses

    def _embedded(
        self, z: Tensor, target: Tensor | None, told: SideInformation, weights: Params, *, merged: bool = False
    ) -> Embeddings:
        """Heads on each task's samples under its weights."""
        features = self.calibrate(z, weights)
        if target is not None:
            with torch.no_grad():  # momentum targets are weighed alike
                target = self.calibrate(target, weights)
        if merged:
            features, told = features.flatten(0, 1)[None], told.merged()
            target = target if target is None else target.flatten(0, 1)[None]
        return self.embed(features, target, told)

    def _outer_loss(self, branches: Branches, adapted: Params, support: int) -> Tensor:
        z, target, told = branches.online, branches.target, branches.told
        start = support if self.outer_on == "query" else 0
        own_target, own_told = None if target is None else target[:, start:], told.of_samples(slice(start, None))
        merged = self.statistics == "episode"
        embeddings = self._embedded(z[:, start:], own_target, own_told, adapted, merged=merged)
        self._embeddings = embeddings.detach()
        loss: Tensor = self.objective(embeddings)
        if self.outer_on == "others":
            query, query_target = z[:, support:], None if target is None else target[:, support:]
            query_told = told.of_samples(slice(support, None))
            far = []
            for shift in range(1, len(z)):
                rolled = {name: p.roll(shift, 0) for name, p in adapted.items()}
                far.append(self.objective(self._embedded(query, query_target, query_told, rolled)))
            loss = loss + torch.stack(far).mean()
        return loss

    def _unit(self, start: Params, z: Tensor, target: Tensor | None, told: SideInformation) -> Tensor:
        """Root mean square of the first inner gradient of the gates in the first episode: the unit of all inner losses.

        Rates are then in units of the gates whatever the objective.
        """
        if bool(self.sensitivity):
            return self.sensitivity
        still = {name: p.detach().requires_grad_() for name, p in start.items()}
        with torch.enable_grad():
            value = self._support_losses(still, z.detach(), target, told).sum()
        (gradient,) = torch.autograd.grad(value, [still["gates"]])
        unit = gradient.square().mean().sqrt()
        if not bool(unit > SILENT):  # a queue that is empty, γ = 0: nothing to adapt on yet, and no unit to keep
            return torch.ones_like(unit)
        if self.training:
            self.sensitivity.copy_(unit)
        return unit

    def _watched(self, adapted: Params) -> dict[str, Tensor]:
        weights = 2 * adapted["gates"].detach().sigmoid()
        return {
            "weight_spread": weights.std(0).mean() if len(weights) > 1 else weights.new_zeros(()),
            "small_weights": (weights < 0.2).float().mean(),
            "rate": self.calibrator.log_rate.detach().exp().mean(),
        }

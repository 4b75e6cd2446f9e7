"""TC² with one calibrator that all tasks share: adapt it in an inner loop, step the encoder through it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Unpack, get_args

import torch
from torch import Tensor, nn

from metatc2.calibration import Calibrated, Calibrator, hoyer, reconstruction_ratio
from metatc2.episodes import Episode
from metatc2.errors import InputError, nearest
from metatc2.inner import InnerLoop, Params
from metatc2.learners.base import Outcome, ParameterGroup, full_precision
from metatc2.learners.branches import Branch, Branches, Statistics
from metatc2.learners.gradient_scale import gradient_scale
from metatc2.learners.self_supervised import SelfSupervised
from metatc2.learners.side_information import NOTHING, SideInformation
from metatc2.objectives import Embeddings, Objective
from metatc2.objectives.regularizers import isotropy
from metatc2.ops.replacing import replaced

OuterOn = Literal["whole", "query"]


class SharedArguments(Branch, total=False):
    """Arguments of a `SharedTC2`, see there."""

    standardize: bool
    gamma: float
    blend: float
    blend_warmup: float
    outer_on: OuterOn
    statistics: Statistics
    lr: float


class SharedTC2(SelfSupervised):
    """Task conflict calibration (Guo et al., arXiv 2511.13787), bi-level; shapes and defaults are our reading.

    Inner loop: ω' = T steps on ``L_tc2(support) + γ L_ssl(calibrated support)`` from ω, the calibrator's parameters.
    Outer loop: θ, encoder and heads, steps on ``L_ssl(z̃ under ω')`` through the inner loop; ω steps on the same plus
    ``L_tc2(ω)``. The encoder runs once; the inner loop works on its features. A regularizer sees the codes ``z Vᵀ`` of the
    adapted factors, which no gradient of it reaches.

    By its defaults the cut into tasks only decides which images are support: the calibration losses are means over samples,
    factors are pooled over the episode, and the objective is of the whole episode. Tasks act on more where γ > 0, where
    `statistics` is ``"task"``, and where the calibrator's weights are of order ``"task"``.

    Args:
        encoder, objective, projector: as in `SelfSupervised`.
        calibrator: factor and weight networks.
        inner: how ω adapts; its `steps` (T) may be 0.
        gamma: γ, weight of the objective in the inner loss, where the running average of its `gradient_scale` divides it.
        blend: final value of the blend a.
        blend_warmup: share of all steps in which a grows from 0.
        standardize: standardize z over the episode.
        outer_on: the outer loss covers the ``"whole"`` task or its ``"query"`` side.
        statistics: the outer loss takes its negatives and batch statistics from the whole ``"episode"``, so that what serves
            one task is held against all others, or stays within each ``"task"``. The inner loop's always do.
        lr: Adam learning rate of ω.
        branch: predictor, where, momentum, regularizer and weight, as in `SelfSupervised`.

    Raises:
        InputError: if a name is unknown.
    """

    def __init__(
        self,
        encoder: nn.Module,
        objective: Objective,
        *,
        projector: nn.Module,
        calibrator: Calibrator,
        inner: InnerLoop,
        gamma: float = 0.0,
        blend: float = 1.0,
        blend_warmup: float = 0.1,
        standardize: bool = True,
        outer_on: OuterOn = "whole",
        statistics: Statistics = "episode",
        lr: float = 1e-3,
        **branch: Unpack[Branch],
    ) -> None:
        super().__init__(encoder, objective, projector=projector, per_task=True, standardize=standardize, **branch)
        if outer_on not in get_args(OuterOn):
            raise InputError(f"unknown outer_on {outer_on!r}; {nearest(outer_on, get_args(OuterOn))}")
        if statistics not in get_args(Statistics):
            raise InputError(f"unknown statistics {statistics!r}; {nearest(statistics, get_args(Statistics))}")
        self.calibrator, self.inner = calibrator, inner
        self.gamma, self.final_blend, self.blend_warmup = gamma, blend, blend_warmup
        self.outer_on, self.statistics, self.calibrator_lr = outer_on, statistics, lr
        self.blend, self.progress = blend, 0.0
        self._seen: tuple[Tensor, Tensor] | None = None

    def forward(self, episode: Episode) -> Outcome:
        """Outer loss of an episode, differentiable through the inner loop."""
        episode = self.seen(episode)
        branches = self.branches(episode)
        support = episode.support.index.shape[1]
        omega = self.omega()
        self.objective.check(support if self.gamma and self.inner.steps else branches.online.shape[1])
        target = branches.target if branches.target is None else branches.target[:, :support]
        with full_precision(branches.online):
            told = branches.told.of_samples(slice(support))
            adapted = self.adapt(omega, branches.online[:, :support], target, told)
            return self.outcome(adapted, omega, branches, support if self.outer_on == "query" else 0)

    def omega(self) -> Params:
        """Parameters of the calibrator by name."""
        return dict(self.calibrator.named_parameters())

    def adapt(self, omega: Params, z: Tensor, target: Tensor | None, told: SideInformation = NOTHING) -> Params:
        """ω' from ω by the inner loop.

        Args:
            omega: parameters of the calibrator.
            z: support side of the representation, ``(tasks, samples, views, d)``.
            target: the same of the momentum branch.
            told: of these samples.
        """
        if not omega:
            return omega

        def loss(parameters: Params) -> Tensor:
            calibrated = self.calibrate(parameters, z)
            value = self.calibrator.loss(z, calibrated)
            if self.gamma:
                objective = self.objective(self._heads(parameters, calibrated, target, told))
                value = value + self.gamma * objective / (self.scale + (self.scale == 0))
            return value

        return self.inner(loss, omega)

    def outcome(self, adapted: Params, omega: Params, branches: Branches, start: int) -> Outcome:
        """Outer loss: the objective under ω' on the samples from `start` on, ``L_tc2(ω)``, and the regularizer of all codes."""
        z, target = branches.online, branches.target
        calibrated = self.calibrate(adapted, z)
        query = Calibrated(calibrated.features[:, start:], calibrated.weights[:, start:], calibrated.factors)
        target = target if target is None else target[:, start:]
        told, merged = branches.told.of_samples(slice(start, None)), self.statistics == "episode"
        embeddings = self._heads(adapted, query, target, told, merged=merged)
        ssl = self.objective(embeddings)
        own = self.calibrator.loss(z.detach(), self.calibrate(omega, z.detach())) if omega else ssl.new_zeros(())
        # Without their graphs: these could not be copied, and would outlive the step.
        self._embeddings = embeddings.detach()
        self._seen = branches.raw.detach(), calibrated.factors.detach()
        loss = ssl + own
        if self.weight or self.gamma:
            self._gradient_scale = gradient_scale(ssl, query.features)
        if self.weight:
            loss = loss + self.regularize(z @ calibrated.factors.detach().mT)
        if self.auxiliary_weight:
            loss = loss + self.auxiliary_loss(branches)
        metrics = {"ssl": ssl.detach(), "tc2": own.detach(), "blend": self.blend, **watch(z, calibrated)}
        return Outcome(loss, metrics, branches.raw.detach())

    def calibrate(self, parameters: Params, z: Tensor, factors: Tensor | None = None) -> Calibrated:
        """The calibrator under the given parameters, at the present blend."""
        with replaced(self.calibrator, parameters):
            result: Calibrated = self.calibrator(z, self.blend, factors)
        return result

    def objective_inputs(
        self, z: Tensor, target: Tensor | None, told: SideInformation = NOTHING
    ) -> tuple[Tensor, Tensor | None]:
        """z̃ under the present ω, without inner steps; momentum targets are calibrated by the same factors."""
        made = self.calibrate(self.omega(), z)
        if target is not None:
            with torch.no_grad():
                target = self.calibrate(self.omega(), target, made.factors).features
        return made.features, target

    def begin_step(self, step: int, steps: int) -> None:
        """The blend a grows linearly over the first steps."""
        super().begin_step(step, steps)
        self.progress = step / steps
        rise = self.blend_warmup * steps
        self.blend = self.final_blend * (min(1.0, step / rise) if rise else 1.0)

    def end_step(self) -> None:
        """Move the averages of the calibrator too."""
        super().end_step()
        if self._seen is not None:
            self.calibrator.track(*self._seen)
            self._seen = None

    def groups(self) -> list[ParameterGroup]:
        """Encoder and heads under the trainer's optimizer; ω under its own Adam."""
        omega = list(self.calibrator.parameters())
        own = {id(p) for p in omega}
        theta = [p for p in self.parameters() if p.requires_grad and id(p) not in own]
        groups = [ParameterGroup("encoder", theta)]
        return [*groups, ParameterGroup("calibrator", omega, lr=self.calibrator_lr)] if omega else groups

    def alarms(self, metrics: Mapping[str, float]) -> dict[str, str]:
        """Factors that explain less than half of the representation calibrate nothing."""
        if metrics["unexplained"] > 0.5 and self.progress >= 0.25:  # before that they are still being found
            share = f"{metrics['unexplained']:.0%}"
            return {
                "unexplained": f"the factors leave {share} of the representation unexplained (alarm above 50%); more "
                "calibration.factors, a smaller calibration.sparsity or more steps may help"
            }
        return {}

    def exports(self) -> dict[str, nn.Module]:
        """The encoder, and the calibrator where it works on the encoder's output."""
        return super().exports() | ({"calibrator": self.calibrator} if self.where == "backbone" else {})

    def _heads(
        self,
        parameters: Params,
        calibrated: Calibrated,
        target: Tensor | None,
        told: SideInformation,
        *,
        merged: bool = False,
    ) -> Embeddings:
        features = calibrated.features
        if target is not None:
            with torch.no_grad():  # momentum targets are calibrated by the same factors
                target = self.calibrate(parameters, target, calibrated.factors).features
        if merged:
            features, told = features.flatten(0, 1).unsqueeze(0), told.merged()
            target = target if target is None else target.flatten(0, 1).unsqueeze(0)
        return self.embed(features, target, told)


@torch.no_grad()
def watch(z: Tensor, calibrated: Calibrated) -> dict[str, Tensor]:
    """Is calibration healthy: unexplained variance, Hoyer sparsity, isotropy, share of small weights."""
    size = calibrated.weights.abs()
    return {
        "unexplained": reconstruction_ratio(z, calibrated.weights, calibrated.factors),
        "hoyer": hoyer(calibrated.weights),
        "isotropy": isotropy(z, calibrated.factors),
        "small_weights": (size < 0.05 * size.amax(-1, keepdim=True)).float().mean(),
    }

"""Features calibrated for what the user says is the same: weights adapted at test time on a few pairs of images.

A few pairs as the context of a representation: compare ContextSSL (Gupta et al., arXiv 2405.18193), where a transformer reads
them; here the weights of `TC2` adapt on them as they do on the support set of a task (Guo et al., arXiv 2511.13787).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from metatc2.augment import Views
from metatc2.calibration.task_weights import TaskCalibrator
from metatc2.data.pairs import Pairs
from metatc2.errors import InputError
from metatc2.inner import Params
from metatc2.learners import TC2
from metatc2.learners.base import full_precision
from metatc2.learners.side_information import NOTHING, SideInformation
from metatc2.ops.module_state import copied, evaluation_mode
from metatc2.transfer import extract


class ContextEncoder(nn.Module):
    """An encoder and a calibrator whose weights are fixed: those that were adapted on some pairs.

    Args:
        encoder: images to ``(N, d)``.
        calibrator: trained on its output.
        adapted: weights of one task, see `TaskCalibrator.start`.
    """

    def __init__(self, encoder: nn.Module, calibrator: TaskCalibrator, adapted: Params) -> None:
        super().__init__()
        self.encoder, self.calibrator = encoder, calibrator
        self._names = tuple(adapted)
        for name, value in adapted.items():
            self.register_buffer(f"adapted_{name}", value.detach().clone())

    @property
    def adapted(self) -> Params:
        """The weights by name, with a leading axis of one task."""
        return {name: self.get_buffer(f"adapted_{name}") for name in self._names}

    def forward(self, images: Tensor) -> Tensor:
        """Calibrated features ``(N, d)``, each of its image alone."""
        features: Tensor = self.encoder(images)
        with full_precision(features):
            z = features.to(self.calibrator.basis.dtype)[None, :, None]
            calibrated: Tensor = self.calibrator(z, self.adapted)
        return calibrated[0, :, 0]


def adapt_to_pairs(learner: TC2, pairs: Pairs) -> ContextEncoder:
    """Adapt the weights of a trained learner once on pairs, by its own inner loop: T steps at the learned rates.

    The pairs are the support set of one task, the two images of a pair two views of a sample. Encoder and heads are in eval
    mode: batch normalization in the encoder takes its running statistics, and the heads' `TaskNorm` those of the pairs, as in
    training.

    Args:
        learner: left as it is; what is returned has copies of its encoder and calibrator.
        pairs: with images as the encoder takes them.

    Returns:
        Images ``(N, C, H, W)`` in [0, 1] → calibrated features ``(N, d)``, in eval mode.

    Raises:
        InputError: if the learner calibrates the projector's output, standardizes, or adapts nothing, or pairs are too few.
        InnerLoopDiverged: if the inner loss is not finite.
    """
    _check(learner, pairs)
    like = learner.calibrator.basis
    encoders = [learner.encoder, *([learner.target_encoder] if learner.objective.momentum else [])]
    flat = pairs.images.flatten(0, 1)
    sides = [extract(encoder, flat).unflatten(0, (len(pairs), 2))[None].to(like) for encoder in encoders]
    target = sides[1] if len(sides) > 1 else None
    with evaluation_mode(learner), torch.no_grad(), full_precision(like):
        adapted = learner.adapt(sides[0], target, _told(learner, len(pairs), like))
    # Copies: eval mode here must not reach the learner, nor its further training these.
    return ContextEncoder(copied(learner.encoder), copied(learner.calibrator), adapted).eval()


def _told(learner: TC2, pairs: int, like: Tensor) -> SideInformation:
    """To conditioned heads: nothing was done to either image of a pair."""
    if not learner.told_of_views():
        return NOTHING
    untouched = Views.none().sample(2 * pairs, torch.Generator()).to(like)
    return learner.tell_descriptors(untouched.unflatten(0, (1, pairs, 2)))


def _check(learner: TC2, pairs: Pairs) -> None:
    if learner.where != "backbone":
        raise InputError(
            f"{pairs.name}: weights that calibrate the projector's output (calibration.where = 'projector') do not reach the "
            "encoder's features; pre-train with calibration.where = 'backbone'"
        )
    if learner.standardize:
        raise InputError(
            f"{pairs.name}: in training representations were standardized over the episode (calibration.standardize), and a "
            "few pairs do not give the statistics for that; pre-train with calibration.standardize = false"
        )
    if not learner.inner.steps or not learner.gamma:
        raise InputError(
            f"{pairs.name}: weights do not adapt on samples where calibration.inner_steps or calibration.gamma is 0; pre-train "
            "with both above 0"
        )
    if not learner.objective.two_views:
        raise InputError(
            f"{pairs.name}: pairs say what counts as the same, and {learner.objective.name} compares no two images; pre-train "
            "with another objective"
        )
    if len(pairs) < learner.objective.min_samples:
        raise InputError(
            f"{pairs.name}: {len(pairs)} pair{'s' * (len(pairs) != 1)} given, and {learner.objective.name} needs at least "
            f"{learner.objective.min_samples}; add more pairs"
        )

"""Transferability estimates: figures from features and labels that should order encoders without any training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import stats
from sklearn.covariance import LedoitWolf
from torch import Tensor

from metatc2.errors import InputError
from metatc2.models.inputs import feature_sides, labels_of

# The fixed point takes 2 to 10 rounds, more where the evidence is flat; the price of a round is that of a few vectors.
_ROUNDS, _TOLERANCE = 500, 1e-9

# Where a class follows from the features exactly, or not at all, the best α / β is 0 or infinite: it is held to within
# this factor of the largest eigenvalue of FᵀF.
_FURTHEST = 1e12


@dataclass(frozen=True)
class Estimate:
    """Estimates of one encoder on one target.

    Args:
        encoder: its name.
        target: e.g. ``"glyphs:greek"``.
        values: by name of the estimate; higher is better, and comparable on one target alone.
        measured: few-shot accuracy in its results for this target, in [0, 1], of the first way, shot and head that all
            encoders with results were measured by; None where there is none.
    """

    encoder: str
    target: str
    values: Mapping[str, float]
    measured: float | None

    def to_json(self) -> dict[str, Any]:
        """As a mapping that JSON holds."""
        return {"encoder": self.encoder, "target": self.target, **self.values, "measured": self.measured}


@dataclass(frozen=True)
class RankCorrelation:
    """How far estimates order encoders as measured transfer does; each from −1 to 1.

    Args:
        kendall: Kendall's τ_b.
        weighted_kendall: Vigna's weighted τ with hyperbolic weights, in which the best encoders count most.
        spearman: Spearman's ρ.
        encoders: how many were ordered.
    """

    kendall: float
    weighted_kendall: float
    spearman: float
    encoders: int


def log_me(features: Tensor, labels: Tensor) -> float:
    """LogME (You et al. 2021, arXiv 2102.11005): the logarithm of the maximum evidence, per image, mean over classes.

    Each class in turn is a regression target y of 0 and 1, ``y = Fw + noise`` with ``w ~ N(0, I/α)`` and noise of
    variance 1/β. α and β maximize ``p(y | F, α, β)`` (equation 2), found by the fixed point of their section 4.2:
    ``γ = Σ βσ²/(α + βσ²)``, ``α ← γ / mᵀm``, ``β ← (n − γ) / |Fm − y|²``, where m is the posterior mean of w. Features
    are taken as they are: neither centered nor scaled.

    Args:
        features: float ``(N, D)``; the arithmetic is in double precision.
        labels: int64 ``(N,)``, at least two classes.

    Returns:
        nats an image; higher is better, and it may be negative.

    Raises:
        InputError: if shapes do not fit, features are not finite or all zero, or there is one class.

    >>> labels = torch.arange(60) % 3
    >>> told = torch.eye(3)[labels] + 0.1 * torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    >>> log_me(told, labels) > log_me(told.roll(1, 0), torch.zeros(60).long().index_fill(0, torch.arange(20), 1))
    True
    """
    f, classes = _checked(features, labels, "LogME")
    count = len(f)
    y = torch.eye(int(classes.max()) + 1, dtype=torch.float64)[classes]
    variance, projected = _spectrum(f, y)
    # What of y no w can reach.
    outside = (y.square().sum(0) - projected.square().sum(0)).clamp(min=0)
    top = float(variance.max())
    lowest, highest = top / _FURTHEST, top * _FURTHEST
    # In the eigenbasis everything depends on the ratio t = α / β alone, and all classes go together.
    ratio = torch.ones(y.shape[1], dtype=torch.float64).clamp(lowest, highest)
    for _ in range(_ROUNDS):
        shrunk = variance[:, None] / (variance[:, None] + ratio)
        gamma = shrunk.sum(0)
        weights = (shrunk.square() / variance[:, None] * projected.square()).sum(0)
        residual = ((1 - shrunk).square() * projected.square()).sum(0) + outside
        alpha, beta = gamma / weights.clamp(min=1e-300), (count - gamma) / residual.clamp(min=1e-300)
        before, ratio = ratio, (alpha / beta).clamp(lowest, highest)
        if bool(((ratio / before).log().abs() < _TOLERANCE).all()):
            break
    # The evidence at t with the best β for it, which at the fixed point is the β above.
    shrink = 1 + variance[:, None] / ratio
    noise = ((projected.square() / shrink).sum(0) + outside) / count
    evidence = -count / 2 * (noise.clamp(min=1e-300).log() + math.log(2 * math.pi) + 1) - shrink.log().sum(0) / 2
    return float(evidence.mean()) / count


def h_score(features: Tensor, labels: Tensor, *, shrinkage: bool = False) -> float:
    """H-score (Bao et al. 2019, definition 2): ``tr(cov(f)⁻¹ cov(E[f | y]))``, the share of variance between classes.

    It lies between 0 and the smaller of D and the number of classes less one. With few images for many dimensions the
    covariance is close to singular and the plain score too high; then take the shrunk one (Ibrahim et al. 2021,
    arXiv 2110.06893): the covariance is Ledoit and Wolf's, ``(1 − a) cov(f) + a tr(cov(f)) / D · I``, and the covariance
    between classes is multiplied by ``1 − a``.

    Args:
        features: float ``(N, D)``; the arithmetic is in double precision.
        labels: int64 ``(N,)``, at least two classes.
        shrinkage: whether to shrink.

    Raises:
        InputError: if shapes do not fit, features are not finite or all equal, or there is one class.

    >>> labels = torch.arange(6) % 2
    >>> round(h_score(labels[:, None].float(), labels), 6)
    1.0
    """
    f, classes = _checked(features, labels, "H-score")
    f = f - f.mean(0)
    if not bool(f.any()):
        raise InputError(
            "H-score: all images have the same features, so there is no variance to explain; check the encoder"
        )
    sums = torch.zeros(int(classes.max()) + 1, f.shape[1], dtype=torch.float64).index_add(0, classes, f)
    counts = classes.bincount().double()
    # Each class weighs as many images as it has: Σ_c n_c/n μ_c μ_cᵀ.
    between = (sums / counts[:, None]).T @ (sums / len(f))
    if not shrinkage:
        return float((torch.linalg.pinv(f.T @ f / len(f), hermitian=True) * between).sum())
    shrunk = LedoitWolf(store_precision=False, assume_centered=True).fit(f.numpy())
    covariance = torch.from_numpy(np.asarray(shrunk.covariance_))
    # Two images, or some that lie alike around their mean, leave nothing to shrink: the covariance is then singular.
    inverse = torch.linalg.pinv(covariance, hermitian=True)
    return (1 - float(shrunk.shrinkage_)) * float((inverse * between).sum())


def rank_correlation(estimates: Sequence[float] | Tensor, measured: Sequence[float] | Tensor) -> RankCorrelation:
    """Rank correlation of an estimate with the transfer that was measured, over encoders.

    Args:
        estimates: ``(E,)``, one an encoder, higher is better.
        measured: ``(E,)``, e.g. accuracies, in the same order.

    Raises:
        InputError: if the lengths differ or are below 3, a value is not finite, or a side is constant.

    >>> correlation = rank_correlation([0.1, 0.4, 0.3, 0.9], [50.0, 61.0, 63.0, 70.0])
    >>> round(correlation.kendall, 3), round(correlation.spearman, 3), correlation.encoders
    (0.667, 0.8, 4)
    """
    a, b = (torch.as_tensor(side, dtype=torch.float64).cpu() for side in (estimates, measured))
    if a.ndim != 1 or a.shape != b.shape or len(a) < 3:
        raise InputError(
            f"rank correlation: needs one estimate and one measurement for each of at least 3 encoders, "
            f"got shapes {tuple(a.shape)} and {tuple(b.shape)}"
        )
    for name, side in (("estimates", a), ("measured", b)):
        if not bool(side.isfinite().all()):
            raise InputError(f"rank correlation: {name} must be finite, got {side.tolist()}; leave that encoder out")
        if bool((side == side[0]).all()):
            raise InputError(
                f"rank correlation: {name} are all {float(side[0]):g}, which gives no order of the encoders"
            )
    x, y = a.numpy(), b.numpy()
    return RankCorrelation(
        float(stats.kendalltau(x, y).statistic),
        float(stats.weightedtau(x, y).statistic),
        float(stats.spearmanr(x, y).statistic),
        len(a),
    )


def _spectrum(f: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues σ² > 0 of FᵀF, and y in the matching left singular vectors of F, ``(r, classes)``."""
    wide = f.shape[1] > f.shape[0]
    values, vectors = torch.linalg.eigh(f @ f.T if wide else f.T @ f)
    if not float(values[-1]) > 0:
        raise InputError("LogME: all features are zero, so they say nothing about any class; check the encoder")
    # Below this an eigenvalue of the Gram matrix is rounding.
    kept = values > values[-1] * max(f.shape) * torch.finfo(torch.float64).eps
    values, vectors = values[kept], vectors[:, kept]
    return values, vectors.T @ y if wide else (vectors.T @ (f.T @ y)) / values.sqrt()[:, None]


def _checked(features: Tensor, labels: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """Features in double precision, and classes counted from 0."""
    (features,) = feature_sides({f"{name}: features": features})
    labels = labels_of(labels, f"{name}: labels", len(features))
    classes = torch.unique(labels.cpu(), return_inverse=True)[1]
    if int(classes.max()) < 1:
        raise InputError(f"{name}: the {len(labels)} images are all of one class; give at least two classes")
    return features.cpu().double(), classes

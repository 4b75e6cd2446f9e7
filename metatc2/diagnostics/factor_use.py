"""What a calibrator does with its factors: how many are used, how sparsely, and whether groups of images use others."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from metatc2.calibration import Calibrator, hoyer, orthogonality, reconstruction_ratio
from metatc2.errors import InputError
from metatc2.metrics.null import AgainstNull, against_null
from metatc2.metrics.rows import checked
from metatc2.metrics.spectrum import entropy_rank

# Weights below this share of a sample's largest are near zero, as in training's own log.
SMALL = 0.05
DRAWS = 199


@dataclass(frozen=True)
class FactorUse:
    """Factors at test time.

    Args:
        usage: share of each factor in the mean absolute weight, K values that sum to 1.
        factors_used: effective number of factors, the exponential of the entropy of `usage`; from 1 to K.
        unused: share of factors with less than a tenth of an even share.
        orthogonality: ``‖V Vᵀ − I‖²_F / K``; 0 for orthonormal factors.
        overlap_most: largest |cosine| between two factors; 0 where there is one factor.
        hoyer: mean Hoyer sparseness of a sample's weights: 0 all equal, 1 one alone; None where there is one factor.
        near_zero: share of weights below 5 % of the largest weight of their sample.
        unexplained: share of the variance that the factors leave unexplained.
        between_groups: mutual information of group and factor, as a share of its bound, beside its null over random groups of
            the same sizes: 0 where all groups use the factors alike, 1 where each uses one of its own. None without groups.
    """

    usage: tuple[float, ...]
    factors_used: float
    unused: float
    orthogonality: float
    overlap_most: float
    hoyer: float | None
    near_zero: float
    unexplained: float
    between_groups: AgainstNull | None


@torch.no_grad()
def factor_use(
    calibrator: Calibrator,
    features: Tensor,
    *,
    standardized: bool,
    groups: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> FactorUse:
    """Measure how a trained calibrator uses its factors.

    Args:
        calibrator: with the averages of training, which stand for an episode's statistics.
        features: ``(N, d)`` before calibration.
        standardized: whether training standardized the representation.
        groups: int64 ``(N,)``, e.g. task, class or domain of each image; at least two of them.
        generator: the null of `FactorUse.between_groups` is drawn from it; needed with `groups`.

    Raises:
        InputError: if features are not finite or not as wide as the calibrator, or `groups` do not fit.

    >>> from metatc2.calibration import named_calibrator
    >>> calibrator = named_calibrator(4, 2, control="random-projection")
    >>> calibrator.track(torch.randn(50, 4), calibrator.factor_network(torch.randn(1, 50, 4)))
    >>> use = factor_use(calibrator, torch.randn(50, 4), standardized=False)
    >>> round(sum(use.usage), 6), round(use.orthogonality, 6)
    (1.0, 0.0)
    """
    h = checked(features, "factors")
    count, dim = calibrator.average_factors.shape
    if h.shape[1] != dim:
        raise InputError(
            f"factors: features are {h.shape[1]} wide and the calibrator takes {dim}; give the features that it was trained on"
        )
    h = h.to(calibrator.average_factors)
    z, factors = calibrator.at_test(h, standardized=standardized)
    weights = calibrator.test_weights(h, standardized=standardized).double()
    size = weights.abs()
    total = size.sum()
    usage = size.sum(0) / total.clamp_min(torch.finfo(total.dtype).tiny)
    wide = factors.double()
    cosine = (wide @ wide.mT).abs().fill_diagonal_(0)
    return FactorUse(
        usage=tuple(usage.tolist()),
        factors_used=entropy_rank(usage),
        unused=float((usage < 0.1 / count).double().mean()),
        orthogonality=float(orthogonality(wide)),
        overlap_most=float(cosine.max()),
        hoyer=float(hoyer(weights)) if count > 1 else None,
        near_zero=float((size < SMALL * size.amax(1, keepdim=True)).double().mean()),
        unexplained=float(reconstruction_ratio(z[:, 0].double(), weights, wide)),
        between_groups=None if groups is None else _between(size, groups, generator),
    )


def usage_information(size: Tensor, groups: Tensor) -> float:
    """Mutual information of group and factor over ``log min(groups, K)``, groups weighing alike.

    The Jensen–Shannon divergence of the groups' usage: entropy of the mean usage less the mean entropy.

    Args:
        size: absolute weights ``(N, K)``.
        groups: int64 ``(N,)`` from 0, none empty.

    >>> round(usage_information(torch.eye(3).double(), torch.arange(3)), 6)
    1.0
    """
    number, factors = int(groups.max()) + 1, size.shape[1]
    sums = torch.zeros(number, factors, dtype=size.dtype, device=size.device).index_add(0, groups, size)
    usage = sums / sums.sum(1, keepdim=True).clamp_min(torch.finfo(size.dtype).tiny)
    bound = math.log(min(number, factors))
    if not bound:
        return 0.0
    entropy = torch.special.entr(usage).sum(1).mean()
    return float((torch.special.entr(usage.mean(0)).sum() - entropy) / bound)


def _between(size: Tensor, groups: Tensor, generator: torch.Generator | None) -> AgainstNull:
    if groups.shape != (len(size),) or groups.is_floating_point() or len(groups.unique()) < 2:
        raise InputError(
            f"factors: groups must be whole numbers of shape ({len(size)},) with at least two of them, got {groups.dtype} "
            f"{tuple(groups.shape)} with {len(groups.unique())}; leave them out where there is one group"
        )
    if generator is None:
        raise InputError(
            "factors: groups need a generator, from which their null is drawn; pass generator=torch.Generator()"
        )
    ids = groups.to(size.device).unique(return_inverse=True)[1]
    null = []
    for _ in range(DRAWS):
        order = torch.randperm(len(ids), generator=generator, device=generator.device)
        null.append(usage_information(size, ids[order.to(ids.device)]))
    return against_null(usage_information(size, ids), null)

"""All figures of one set of features."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from metatc2.metrics.alignment import alignment, uniformity
from metatc2.metrics.coding_rate import coding_rate, rate_reduction
from metatc2.metrics.collapse import Collapse, collapse
from metatc2.metrics.spectrum import PowerLaw, entropy_rank, nesum, power_law, rankme, variances


@dataclass(frozen=True)
class FeatureSummary:
    """Figures of features ``(N, d)`` and of two views of the same images.

    Args:
        rows, dim: N and d.
        rankme: see `metatc2.diagnostics.rankme`; at most min(N, d).
        effective_rank: see `metatc2.diagnostics.effective_rank`.
        nesum: see `metatc2.diagnostics.nesum`.
        power_law: α-ReQ, see `metatc2.diagnostics.power_law`.
        coding_rate: nats, ε² = 0.5.
        rate_reduction: nats, between the two views of each image, ε² = 0.5.
        alignment: between the two views, α = 2.
        uniformity: t = 2.
        collapse: complete and dimensional.
    """

    rows: int
    dim: int
    rankme: float
    effective_rank: float
    nesum: float
    power_law: PowerLaw
    coding_rate: float
    rate_reduction: float
    alignment: float
    uniformity: float
    collapse: Collapse


def summarize(features: Tensor, first: Tensor, second: Tensor) -> FeatureSummary:
    """Every figure of `FeatureSummary`.

    Args:
        features: ``(N, d)`` of the images as they are.
        first, second: ``(N, d)`` of two views of them.

    Raises:
        InputError: if there are fewer than 2 rows, one is not finite, or the shapes of the views differ.

    >>> import torch
    >>> z = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    >>> summary = summarize(z, z, z)
    >>> summary.alignment, summary.collapse.sentence
    (0.0, None)
    """
    eigenvalues = variances(features)
    return FeatureSummary(
        rows=len(features),
        dim=features.shape[1],
        rankme=rankme(features),
        effective_rank=entropy_rank(eigenvalues),
        nesum=nesum(eigenvalues),
        power_law=power_law(eigenvalues),
        coding_rate=coding_rate(features),
        rate_reduction=rate_reduction(first, second),
        alignment=alignment(first, second),
        uniformity=uniformity(features),
        collapse=collapse(features),
    )

"""Mutual information gap: does one code alone tell a factor?"""

from __future__ import annotations

import torch
from torch import Tensor

from metatc2.data.sources.shapes.factors import GenerativeFactors
from metatc2.metrics.disentanglement.checks import both_checked

BINS = 20


def mig(codes: Tensor, factors: GenerativeFactors, *, bins: int = BINS) -> Tensor:
    """Mutual information gap (Chen et al., NeurIPS 2018, arXiv 1802.04942, eq. 6) of each factor; the paper's is their mean.

    ``(I(c₁; f) − I(c₂; f)) / H(f)``, c₁ and c₂ the two codes that tell most of f. Information is that of histograms: codes
    and continuous factors in `bins` equal parts of their range, circular ones of the turn; so a circular factor that two codes
    share as cosine and sine has a gap near 0, however well they tell it.

    Args:
        codes: ``(N, K)``, K at least 2.
        factors: of the same N images.
        bins: parts of a range.

    Returns:
        float64 ``(F,)`` from 0 (two codes tell it alike) to 1 (one code tells all, the others nothing).

    Raises:
        InputError: if codes are not finite, rows do not match, K is 1, or a factor does not vary.

    >>> values = torch.rand(5000, 2, generator=torch.Generator().manual_seed(0))
    >>> known = GenerativeFactors(values, ("x", "y"), ("linear", "linear"))
    >>> bool((mig(values, known) > 0.9).all()), bool((mig(values @ torch.tensor([[1.0, 1], [1, -1]]), known) < 0.1).all())
    (True, True)
    """
    information, entropy = mutual_information(codes, factors, bins=bins)
    most = information.topk(2, dim=0).values
    return (most[0] - most[1]) / entropy


def mutual_information(codes: Tensor, factors: GenerativeFactors, *, bins: int = BINS) -> tuple[Tensor, Tensor]:
    """Mutual information of every code and every factor, and the factors' entropies, in nats.

    Returns:
        float64 ``(K, F)`` and ``(F,)``.

    Raises:
        InputError: see `mig`.
    """
    x, known = both_checked(codes, factors, "mutual information", fewest_codes=2)
    # One count of every pair of bins is one matrix product; below 2²⁴ images float32 counts are exact.
    of_code = _one_hot(_parts(x, bins), bins).flatten(1)  # (N, K bins)
    information, entropies = [], []
    for values, kind in zip(known.values.unbind(1), known.kinds, strict=True):
        parts = _factor_parts(values, kind, bins)
        of_factor = _one_hot(parts[:, None], int(parts.max()) + 1)[:, 0]
        joint = (of_code.mT @ of_factor).double().view(x.shape[1], bins, -1) / len(x)
        entropy = torch.special.entr(joint.sum(1)).sum(1)
        information.append(entropy + torch.special.entr(joint.sum(2)).sum(1) - torch.special.entr(joint).sum((1, 2)))
        entropies.append(entropy[0])
    return torch.stack(information, 1).clamp_min(0), torch.stack(entropies)


def _parts(x: Tensor, bins: int) -> Tensor:
    """Equal parts of the range of each column, int64."""
    low, high = x.amin(0), x.amax(0)
    width = (high - low).clamp_min(torch.finfo(x.dtype).tiny)
    return ((x - low) / width * bins).floor().long().clamp(0, bins - 1)


def _factor_parts(values: Tensor, kind: str, bins: int) -> Tensor:
    if kind == "categorical":
        category: Tensor = values.unique(return_inverse=True)[1]
        return category
    if kind == "circular":
        return ((values % 1) * bins).floor().long().clamp(0, bins - 1)
    return _parts(values[:, None], bins)[:, 0]


def _one_hot(parts: Tensor, bins: int) -> Tensor:
    return (parts[..., None] == torch.arange(bins)).float()

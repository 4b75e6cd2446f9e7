"""Coding rate: how many nats the features take to be told apart, and how many of them are spent within images."""

from __future__ import annotations

import torch
from torch import Tensor

from metatc2.errors import InputError
from metatc2.metrics.rows import BLOCK, checked, product, same_rows
from metatc2.ops.coding_rate import pair_rates, rate_of_gram
from metatc2.ops.rows import unit_rows


def coding_rate(features: Tensor, *, eps2: float = 0.5) -> float:
    """``R(Z) = ½ logdet(I + d / (N ε²) ZᵀZ)`` of rows at length one, in nats (Yu et al. 2020, MCR², arXiv 2006.08558, eq. 7).

    Args:
        features: ``(N, d)``; they are brought to length one, zero rows stay.
        eps2: ε², allowed squared distortion of a row; 0.5 as in the paper's code.

    Returns:
        From 0 to d/2 · log(1 + 1/ε²), which rows in all directions have.

    Raises:
        InputError: if there are fewer than 2 rows, one is not finite, or `eps2` is not above 0.

    >>> round(coding_rate(torch.eye(4)), 6), round(2 * torch.tensor(3.0).log().item(), 6)
    (2.197225, 2.197225)
    """
    return _rate(checked(features, "coding rate"), _positive(eps2))


def rate_reduction(z1: Tensor, z2: Tensor, *, eps2: float = 0.5) -> float:
    """``ΔR = R − R_c`` where each image is a class of its own and its two views are its members.

    High when images are far apart and views of one image together; about 0 for collapsed features. R_c is exact in O(N d):
    ``1/(2N) Σ_i log[(1 + a|z_i|²)(1 + a|z'_i|²) − (a z_i·z'_i)²]``, ``a = d / (2 ε²)`` (MCR², eq. 8, with a 2 × 2
    determinant).

    Args:
        z1, z2: ``(N, d)``, two views of the same images; brought to length one.
        eps2: see `coding_rate`.

    Raises:
        InputError: see `coding_rate`; or if the shapes differ.

    >>> eye = torch.eye(4)
    >>> rate_reduction(eye, eye) > rate_reduction(eye, eye.roll(1, 0))
    True
    """
    a, b = checked(z1, "rate reduction"), checked(z2, "rate reduction")
    same_rows(a, b, "rate reduction")
    if a.shape != b.shape:
        raise InputError(
            f"rate reduction: both views need the same width, got {a.shape[1]} and {b.shape[1]}; "
            "compute both with the same encoder"
        )
    within = torch.zeros((), dtype=torch.float64, device=a.device)
    for x, y in zip(a.split(BLOCK), b.split(BLOCK), strict=True):
        within = within + pair_rates(_unit(x), _unit(y), _positive(eps2)).sum()
    return _rate(torch.cat([a, b]), eps2) - float(within) / len(a)


def _rate(x: Tensor, eps2: float) -> float:
    n, dim = x.shape
    if n >= dim:
        gram = sum((product(z, z) for z in map(_unit, x.split(BLOCK))), x.new_zeros(dim, dim, dtype=torch.float64))
    else:  # logdet(I + ZᵀZ) = logdet(I + ZZᵀ)
        rows = _unit(x)
        gram = rows @ rows.mT
    return float(rate_of_gram(gram, dim / (n * eps2)))


def _unit(x: Tensor) -> Tensor:
    return unit_rows(x.double())


def _positive(eps2: float) -> float:
    if not eps2 > 0:
        raise InputError(f"coding rate: eps2 must be above 0, got {eps2}; 0.5 is usual")
    return eps2

"""Alignment and uniformity: are views of an image together, and are images spread over the sphere?"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from metatc2.errors import InputError
from metatc2.metrics.rows import BLOCK, checked, same_rows
from metatc2.ops.rows import unit_rows

# Rows a side of a block of pairwise distances: 8 MB in float64.
TILE = 1024


def alignment(z1: Tensor, z2: Tensor, *, alpha: float = 2.0) -> float:
    """``mean_i ‖u_i − v_i‖^α`` over the rows at length one (Wang & Isola, ICML 2020, arXiv 2005.10242, section 4.1.1).

    Args:
        z1, z2: ``(N, d)``, two views of the same images. They are brought to length one; zero rows stay.
        alpha: α.

    Returns:
        0 when views coincide; 2 for α = 2 when they are unrelated. Lower is better at equal uniformity.

    Raises:
        InputError: if the shapes differ or a row is not finite.

    >>> z = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    >>> alignment(z, z), round(alignment(z, z.flip(0)), 6)
    (0.0, 2.0)
    """
    a, b = checked(z1, "alignment", least=1), checked(z2, "alignment", least=1)
    same_rows(a, b, "alignment")
    if a.shape != b.shape:
        raise InputError(
            f"alignment: both views need the same width, got {a.shape[1]} and {b.shape[1]}; use one encoder for both"
        )
    total = 0.0
    for x, y in zip(a.split(BLOCK), b.split(BLOCK), strict=True):
        total += float((unit_rows(x.double()) - unit_rows(y.double())).norm(dim=1).pow(alpha).sum())
    return total / len(a)


def uniformity(features: Tensor, *, t: float = 2.0) -> float:
    """``log mean_{i<j} exp(−t ‖u_i − u_j‖²)`` over the rows at length one (Wang & Isola 2020, section 4.1.2).

    Exact over all pairs, a tile of them in memory at a time.

    Args:
        features: ``(N, d)``. They are brought to length one; zero rows stay.
        t: t.

    Returns:
        0 when all rows coincide; about −2t when they go in all directions of a wide space. Lower is better.

    Raises:
        InputError: if there are fewer than 2 rows or one is not finite.

    >>> round(uniformity(torch.tensor([[1.0, 0.0], [-3.0, 0.0]])), 6)
    -8.0
    """
    x = checked(features, "uniformity")
    n = len(x)
    parts = x.split(TILE)
    sums = []
    for i, left in enumerate(parts):
        u = unit_rows(left.double())
        for j in range(i, len(parts)):
            v = unit_rows(parts[j].double())
            squared = u.square().sum(1)[:, None] + v.square().sum(1) - 2 * u @ v.mT
            exponent = -t * squared.clamp_min(0)
            if i == j:  # each pair once, and no row with itself
                rows, columns = torch.triu_indices(len(u), len(u), 1, device=x.device)
                exponent = exponent[rows, columns]
            sums.append(exponent.flatten().logsumexp(0))
    return float(torch.stack(sums).logsumexp(0)) - math.log(n * (n - 1) / 2)

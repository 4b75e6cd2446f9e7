"""Linear CKA: are two representations of the same images alike up to rotation and scale?"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from metatc2.errors import InputError
from metatc2.metrics.rows import BLOCK, centered, checked, mean, product, same_rows
from metatc2.metrics.spectrum import ROUNDING


def linear_cka(x: Tensor, y: Tensor, *, debiased: bool = False) -> float:
    """``‖XᵀY‖²_F / (‖XᵀX‖_F ‖YᵀY‖_F)`` of centered features (Kornblith et al., ICML 2019, arXiv 1905.00414, eq. 5).

    Computed from ``d × e`` or ``N × N`` matrices, whichever are smaller.

    Args:
        x: ``(N, d)``.
        y: ``(N, e)``, the same images in the same order under another encoder, or at another layer.
        debiased: put the unbiased estimator of HSIC (Song et al., JMLR 2012, eq. 5) in place of the biased one, which for
            N not far above the widths calls unrelated features alike. May then be below 0.

    Returns:
        1 for equal up to rotation, scale and offset; 0 for unrelated. NaN where either side does not vary, or varies so
        little that the unbiased estimate of its own HSIC is not above 0.

    Raises:
        InputError: if the numbers of rows differ, there are fewer than 2 (debiased: 4), or one is not finite.

    >>> z = torch.randn(100, 6, generator=torch.Generator().manual_seed(0))
    >>> round(linear_cka(z, 3 * z.flip(1) + 1), 6)
    1.0
    """
    return _ratio(_hsic(x, y, debiased))


def minibatch_cka(batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Debiased linear CKA from unbiased HSIC averaged over mini-batches, for features that are never all in memory.

    Nguyen, Raghu & Kornblith, ICLR 2021, arXiv 2010.15327, eq. 2. The estimate of HSIC does not depend on the size of the
    batches, its noise does.

    Args:
        batches: pairs ``(n, d)`` and ``(n, e)``, each as in `linear_cka`, n at least 4.

    Raises:
        InputError: see `linear_cka`; or if there is no batch.

    >>> z = torch.randn(100, 6, generator=torch.Generator().manual_seed(0))
    >>> round(minibatch_cka((part, -part) for part in z.split(20)), 6)
    1.0
    """
    parts = [_hsic(x, y, True) for x, y in batches]
    if not parts:
        raise InputError(
            "minibatch CKA: got no batch; give an iterable of pairs (features, features) that is not used up"
        )
    cross, own_x, own_y = (math.fsum(column) / len(parts) for column in zip(*parts, strict=True))
    return _ratio((cross, own_x, own_y))


def _ratio(hsic: tuple[float, float, float]) -> float:
    cross, own_x, own_y = hsic
    return cross / math.sqrt(own_x) / math.sqrt(own_y) if own_x > 0 and own_y > 0 else float("nan")


def _hsic(x: Tensor, y: Tensor, debiased: bool) -> tuple[float, float, float]:
    """HSIC of both, of `x` with itself, and of `y` with itself, up to a common factor."""
    least = 4 if debiased else 2
    a, b = checked(x, "CKA", least=least), checked(y, "CKA", least=least)
    same_rows(a, b, "CKA")
    middle_a, middle_b = mean(a), mean(b)
    lengths_a, lengths_b = _lengths(a, middle_a), _lengths(b, middle_b)
    if bool(lengths_a.sum() == 0) or bool(lengths_b.sum() == 0):
        return 0.0, 0.0, 0.0
    sides = (a, middle_a, lengths_a), (b, middle_b, lengths_b)
    pairs = (sides[0], sides[1]), (sides[0], sides[0]), (sides[1], sides[1])
    cross, own_a, own_b = (_inner(p, q, debiased) for p, q in pairs)
    return cross, own_a, own_b


def _lengths(x: Tensor, middle: Tensor) -> Tensor:
    """Squared lengths of the centered rows ``(N,)``; all zero where they are rounding alone."""
    lengths = torch.cat([centered(part, middle).square().sum(1) for part in x.split(BLOCK)])
    return lengths if bool(lengths.mean() > middle.square().sum() * ROUNDING**2) else torch.zeros_like(lengths)


def _inner(p: tuple[Tensor, Tensor, Tensor], q: tuple[Tensor, Tensor, Tensor], debiased: bool) -> float:
    (x, mx, a), (y, my, b) = p, q
    n = len(x)
    if x.shape[1] * y.shape[1] <= n * n:
        total = product(x, y, mx, my).square().sum()
    else:  # Σ_ij K_ij L_ij, a block of rows at a time
        u, v = centered(x, mx), centered(y, my)
        rows = max(1, BLOCK * BLOCK // (4 * n))
        blocks = zip(u.split(rows), v.split(rows), strict=True)
        total = torch.stack([((s @ u.mT) * (t @ v.mT)).sum() for s, t in blocks]).sum()
    if not debiased:
        return float(total)
    # Song et al.'s three terms for centered rows, where K without its diagonal sums to −a along each row.
    both = (a * b).sum()
    unbiased = total - n / (n - 2) * both + a.sum() * b.sum() / ((n - 1) * (n - 2))
    return float(unbiased / (n * (n - 3)))

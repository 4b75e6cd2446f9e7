"""Coding rate with a gradient: what figures of features and losses share.

In float64, whatever the rows are in: small against ε², a rate is what is left of large numbers that cancel.
"""

from __future__ import annotations

import torch
from torch import Tensor


def rate_of_gram(gram: Tensor, scale: float) -> Tensor:
    """``½ logdet(I + scale · G)``, a scalar with a gradient, by the Cholesky factor.

    Args:
        gram: ``(k, k)``, positive semi-definite: ``ZᵀZ`` or ``ZZᵀ``, which give the same value; take the smaller.
        scale: d / (N ε²).

    >>> round(rate_of_gram(torch.eye(4), 2.0).item(), 4)
    2.1972
    """
    # The matrix is at least the identity, so its Cholesky factor always exists.
    identity = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    rate: Tensor = torch.linalg.cholesky(identity + scale * gram).diagonal().log().sum()
    return rate


def coding_rate(rows: Tensor, eps2: float) -> Tensor:
    """``R(Z) = ½ logdet(I + d / (N ε²) ZᵀZ)`` in nats, a scalar with a gradient (Yu et al. 2020, arXiv 2006.08558, eq. 7).

    Args:
        rows: ``(N, d)`` of length one, in single precision or better.
        eps2: ε², above 0.

    Returns:
        In the precision of the rows.
    """
    (n, dim), z = rows.shape, _precise(rows)
    return rate_of_gram(z.mT @ z if dim <= n else z @ z.mT, dim / (n * eps2)).to(rows.dtype)


def pair_rates(p: Tensor, q: Tensor, eps2: float) -> Tensor:
    """Coding rate within each pair of rows, ``½ log[(1 + a|p|²)(1 + a|q|²) − (a p·q)²]``, ``a = d / (2 ε²)``; ``(N,)``.

    The exact rate of two rows (eq. 8 of the same paper with m_j = 2): a 2 × 2 determinant, O(N d) for all pairs. The mean of
    it is R_c of MCR² where each image is a class of its own.

    Args:
        p, q: ``(N, d)``, two views of the same images.
        eps2: ε², above 0.

    Returns:
        In the precision of the rows.

    >>> round(pair_rates(torch.ones(1, 1), torch.ones(1, 1), 0.5).item(), 4)  # ½ log(1 + 2a), a = 1
    0.5493
    """
    a, x, y = p.shape[-1] / (2 * eps2), _precise(p), _precise(q)
    lengths = (1 + a * x.square().sum(-1)) * (1 + a * y.square().sum(-1))
    return ((lengths - (a * (x * y).sum(-1)).square()).log() / 2).to(p.dtype)


def rate_reduction(p: Tensor, q: Tensor, eps2: float) -> Tensor:
    """``ΔR = R − R_c`` of two views of the same images, a scalar with a gradient.

    Args:
        p, q: ``(N, d)``, rows of length one.
        eps2: ε², above 0.
    """
    return coding_rate(torch.cat([p, q]), eps2) - pair_rates(p, q, eps2).mean()


def _precise(rows: Tensor) -> Tensor:
    return rows if rows.device.type == "mps" else rows.double()  # which has no double precision


def balance(rows: int, dim: int) -> float:
    """``(p + Nm) / (p Nm)``, which brings the coding rate of `rows` = Nm rows of width p = `dim` to the order of a loss.

    SimDINO (Wu et al. 2025, arXiv 2502.10385): its factor of the expansion term, of all rows over all ranks.

    >>> balance(128, 32)
    0.0390625
    """
    return (dim + rows) / (dim * rows)

"""What the spectrum of features says: RankMe, effective rank, α-ReQ and NESum."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from metatc2.metrics.rank import entropy_rank, rankme
from metatc2.metrics.rows import centered, checked, mean, product

__all__ = [
    "PowerLaw",
    "effective_rank",
    "entropy_rank",
    "nesum",
    "power_law",
    "rankme",
    "singular_values",
    "variances",
]

# Deviations from the mean below this share of it are rounding, not variance.
ROUNDING = 1e-13
# Ranks of the power law's fit, as Stringer et al. (Nature 2019) chose them and α-ReQ took over.
FIRST, LAST = 11, 500


def singular_values(features: Tensor, *, center: bool = False) -> Tensor:
    """Singular values of the feature matrix, descending.

    From the smaller Gram matrix in float64; values that are rounding alone are zero.

    Args:
        features: ``(N, d)``.
        center: whether the mean row is subtracted first; the squares over N are then the eigenvalues of the covariance.

    Returns:
        float64 ``(min(N, d),)``.

    Raises:
        InputError: if there are fewer than 2 rows or one is not finite.

    >>> [round(value, 9) for value in singular_values(torch.diag(torch.tensor([1.0, 3.0, 2.0]))).tolist()]
    [3.0, 2.0, 1.0]
    """
    x = checked(features, "singular values")
    n, dim = x.shape
    middle = mean(x) if center else None
    if n >= dim:
        gram = product(x, x, middle, middle)
    else:
        rows = centered(x, middle)
        gram = rows @ rows.mT
    squares = torch.linalg.eigvalsh(gram).flip(0)
    floor = squares[0].clamp_min(0) * max(n, dim) * torch.finfo(torch.float64).eps
    if middle is not None:
        floor = floor + n * middle.square().sum() * ROUNDING**2
    kept: Tensor = squares.where(squares > floor, torch.zeros_like(squares))
    return kept.sqrt()


def variances(features: Tensor) -> Tensor:
    """Eigenvalues of the covariance (over N), descending, float64 ``(min(N, d),)``; see `singular_values`.

    >>> variances(torch.tensor([[-1.0, 0.0], [1.0, 0.0]])).round(decimals=9).tolist()
    [1.0, 0.0]
    """
    return singular_values(features, center=True).square() / len(features)


def effective_rank(features: Tensor) -> float:
    """Effective rank (Roy & Vetterli 2007) of the covariance matrix: the entropy rank of its eigenvalues.

    Two things set it apart from `rankme`: the mean is subtracted, so that a common offset (that of ReLU features) is no
    direction, and eigenvalues are squares of singular values, so that large directions count more.

    Args:
        features: ``(N, d)``.

    Raises:
        InputError: see `singular_values`.

    >>> round(effective_rank(torch.eye(8)), 6)               # the mean takes one direction
    7.0
    """
    return entropy_rank(variances(features))


def nesum(eigenvalues: Tensor) -> float:
    """NESum: ``Σ λ_i / λ_1``, 0 where all are zero (He & Ozay, ICML 2022, "Exploring the gap between collapsed and whitened
    features").

    Args:
        eigenvalues: of the covariance, ``(k,)``; see `variances`.

    Returns:
        From 1, all variance along one direction, to k, whitened.

    >>> nesum(torch.tensor([2.0, 1.0, 1.0]))
    2.0
    """
    largest = eigenvalues.max()
    return float(eigenvalues.sum() / largest) if bool(largest > 0) else 0.0


@dataclass(frozen=True)
class PowerLaw:
    """The fit ``λ_i ∝ i^−α``.

    Args:
        alpha: exponent; NaN where fewer than 3 eigenvalues can be fitted.
        r2: share of the variance of log λ that the fit explains (weighted as the fit); low: it is no power law.
        first, last: ranks of the fit, counted from 1.
    """

    alpha: float
    r2: float
    first: int
    last: int


def power_law(eigenvalues: Tensor, *, first: int | None = None, last: int | None = None) -> PowerLaw:
    """α-ReQ: exponent of the decay of the covariance's eigenvalues (Agrawal et al., NeurIPS 2022).

    Least squares on log–log axes, rank i weighted by 1/i so that every octave of ranks counts alike (Stringer et al., Nature
    2019). Good features have α near 1: well above, few directions carry all; well below, noise directions count too.

    Args:
        eigenvalues: of the covariance, descending, ``(k,)``; see `variances`.
        first: first rank of the fit. By default 11, as in both papers, or after a tenth of the ranks where there are fewer
            than 100.
        last: last rank, zero eigenvalues left out. By default 500, or half of the ranks where there are fewer than 1 000: the
            end of a spectrum is bent by the number of images.

    >>> fit = power_law(torch.arange(1, 201).double() ** -1.5)
    >>> round(fit.alpha, 6), round(fit.r2, 6), fit.first, fit.last
    (1.5, 1.0, 11, 100)
    """
    ranks = len(eigenvalues)
    first = first or min(FIRST, 1 + ranks // 10)
    last = min(last or min(LAST, -(-ranks // 2)), int((eigenvalues > 0).sum()))
    if last - first < 2:
        return PowerLaw(float("nan"), float("nan"), first, last)
    rank = torch.arange(first, last + 1, dtype=torch.float64, device=eigenvalues.device)
    x, y = rank.log(), eigenvalues[first - 1 : last].double().log()
    weight = 1 / rank / (1 / rank).sum()
    dx, dy = x - (weight * x).sum(), y - (weight * y).sum()
    across, square = (weight * dx * dy).sum(), (weight * dx.square()).sum()
    total = (weight * dy.square()).sum()
    # Eigenvalues equal up to rounding are a power law of exponent 0, fitted without error.
    flat = bool(total <= 1e-18)
    r2 = 1.0 if flat else float(across.square() / (square * total))
    return PowerLaw(float(-across / square) + 0.0, r2, first, last)

"""LeJEPA (Balestriero & LeCun, arXiv 2511.08544): views agree, and embeddings are an isotropic Gaussian by SIGReg."""

from __future__ import annotations

import torch
from torch import Tensor

from metatc2.errors import InputError
from metatc2.objectives.registry import register_objective
from metatc2.objectives.sketched import Sketched, directions
from metatc2.ops.numbers import Fraction, NotNegativeCount, PositiveCount
from metatc2.ops.precision import upcast


def epps_pulley(x: Tensor, *, points: int = 17, limit: float = 5.0) -> Tensor:
    """The statistic of Epps & Pulley (Biometrika 1983) of samples against the standard normal distribution.

    ``n ∫ |φ_n(t) − exp(−t²/2)|² exp(−t²/2) dt``, where ``φ_n(t) = 1/n Σ_i exp(i t x_i)`` is the empirical characteristic
    function, by the trapezoid rule over [−limit, limit], as in LeJEPA's algorithm 1. The integrand is even, so half of the
    points are computed. Of standard normal samples its mean is ``√(2π) − √(2π/3) ≈ 1.06`` whatever n; of n zeros it is 0.41 n.

    Points that are h apart tell differences of samples only up to a multiple of ``2π / h``: by default 10.

    Args:
        x: ``(..., n, columns)``; every column is a sample of size n by itself.
        points: points of the rule, an odd number.
        limit: end of the interval.

    Returns:
        ``(..., columns)``.

    Raises:
        InputError: if there are fewer than three points or an even number, or if the limit is not above 0.

    >>> round(epps_pulley(torch.zeros(100, 1)).item(), 1)
    40.9
    """
    if points < 3 or points % 2 == 0:
        raise InputError(f"SIGReg: points must be an odd number of at least 3, found {points}")
    if not limit > 0:
        raise InputError(f"SIGReg: limit must be above 0, found {limit}")
    with upcast(x) as (x,):
        t = torch.linspace(0, limit, points // 2 + 1, dtype=x.dtype, device=x.device)
        normal = (-t.square() / 2).exp()  # its characteristic function, and the weight
        angles = x.unsqueeze(-1) * t
        gap = (angles.cos().mean(-3) - normal).square() + angles.sin().mean(-3).square()
        half = torch.trapezoid(gap * normal, dx=limit / (points // 2))
        return 2 * x.shape[-2] * half


def sigreg(z: Tensor, *, step: int, seed: int = 0, slices: int = 256, points: int = 17, limit: float = 5.0) -> Tensor:
    """SIGReg: `epps_pulley` of the embeddings along random `directions`, averaged over these.

    A distribution is the standard normal one if and only if all its one-dimensional projections are (Cramér and Wold).

    Args:
        z: ``(..., n, D)``.
        step: number of the training step, from which the directions are drawn.
        seed: of the directions.
        slices: number of directions, in the paper's algorithm 256.
        points, limit: see `epps_pulley`; 17 and 5 as in the paper.

    Returns:
        ``(...)``, one value a task.

    Raises:
        InputError: if an argument is out of range.

    >>> z = torch.randn(512, 8, generator=torch.Generator().manual_seed(0))
    >>> collapsed, gaussian = sigreg(torch.zeros(512, 8), step=0), sigreg(z, step=0)
    >>> round(collapsed.item()), gaussian.item() < 2
    (209, True)
    """
    with upcast(z) as (z,):
        return epps_pulley(z @ directions(z, slices, step=step, seed=seed), points=points, limit=limit).mean(-1)


@register_objective("lejepa")
class LeJEPA(Sketched):
    """``(1 − λ) view_variance + λ sigreg``, with `sigreg` of each view, averaged over the views (the paper's algorithm 2).

    `sigreg` grows with the number of samples of a task, as in the paper, and so does its share in the loss.

    Args:
        weight: λ, from 0 to 1. The paper's starting point is 0.05.
        slices: number of random directions.
        seed: of the directions.

    Raises:
        InputError: if an argument is out of range.

    >>> from metatc2.objectives import Embeddings
    >>> collapsed = Embeddings(torch.ones(2, 4, 2, 8))
    >>> objective = LeJEPA()
    >>> objective(collapsed) == objective(collapsed)
    tensor(True)
    >>> objective.update(collapsed)  # after the optimizer's step; the next one has other directions
    >>> int(objective.steps)
    1
    """

    def __init__(self, weight: Fraction = 0.05, slices: PositiveCount = 256, seed: NotNegativeCount = 0) -> None:
        super().__init__(weight, slices, seed)

    def regularization(self, z: Tensor, step: int) -> Tensor:
        """`sigreg` of samples ``(..., n, D)``: ``(...)``."""
        return sigreg(z, step=step, seed=self.seed, slices=self.slices)

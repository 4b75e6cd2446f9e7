"""VISReg (Wu, Balestriero & Levine, arXiv 2606.02572): views agree, and embeddings have unit scale and a Gaussian shape."""

from __future__ import annotations

import torch
from torch import Tensor

from metatc2.objectives.base import not_negative
from metatc2.objectives.registry import register_objective
from metatc2.objectives.sketched import Sketched, directions
from metatc2.ops.numbers import Fraction, NotNegative, NotNegativeCount, PositiveCount
from metatc2.ops.precision import upcast

# Standard deviations below this count as this, as in the authors' code: embeddings may be all alike.
SMALLEST = 1e-6


def scale_loss(z: Tensor) -> Tensor:
    """``1/D Σ_j (1 − σ_j)²``, equation 1, with σ_j the standard deviation of dimension j over a task's n samples (by 1/n).

    Its gradient does not vanish as the embeddings collapse, where that of `sigreg` does.

    Args:
        z: ``(..., n, D)``.

    Returns:
        ``(...)``, one value a task.

    >>> round(scale_loss(torch.zeros(4, 3)).item(), 3), scale_loss(torch.tensor([[1.0], [-1.0]])).item()
    (1.0, 0.0)
    """
    with upcast(z) as (z,):
        return (1 - _deviation(_centered(z))).square().mean(-1)


def shape_loss(z: Tensor, *, step: int, seed: int = 0, slices: int = 256) -> Tensor:
    """Squared sliced Wasserstein distance to the standard normal once the scale is divided out, equations 2 to 5.

    ``mean_k 1/n Σ_i (s_ki − q_i)²``: s_k are the centered embeddings, divided by σ_j in each dimension, along the random
    direction k, in order of size, and ``q_i = Φ⁻¹(i / (n + 1))`` the quantiles of the normal distribution. No gradient flows
    through σ_j: scale is the business of `scale_loss`. The mean over samples is that of the authors' code.

    Args:
        z: ``(..., n, D)``.
        step: number of the training step, from which the `directions` are drawn.
        seed: of the directions.
        slices: number of directions. 256 as in the authors' code by default; their long runs take 2 048 and 4 096.

    Returns:
        ``(...)``, one value a task.

    Raises:
        InputError: if an argument is out of range.

    >>> z = torch.randn(512, 8, generator=torch.Generator().manual_seed(0))
    >>> line = z[:, :1].expand(-1, 8)  # all dimensions are copies of one
    >>> 10 * shape_loss(z, step=0) < shape_loss(line, step=0), torch.allclose(shape_loss(z, step=0), shape_loss(5 * z, step=0))
    (tensor(True), True)
    """
    with upcast(z) as (z,):
        centered = _centered(z)
        along = (centered / _deviation(centered).detach().unsqueeze(-2)) @ directions(z, slices, step=step, seed=seed)
        n = z.shape[-2]
        quantiles: Tensor = torch.special.ndtri(torch.arange(1, n + 1, dtype=torch.float64) / (n + 1)).to(z)
        ordered: Tensor = along.sort(-2).values
        return (ordered - quantiles.unsqueeze(-1)).square().mean((-2, -1))


def center_loss(z: Tensor) -> Tensor:
    """Mean over dimensions of the squared mean over a task's samples (equation 6 has the sum, the authors' code the mean).

    Args:
        z: ``(..., n, D)``.

    Returns:
        ``(...)``, one value a task.

    >>> center_loss(torch.full((4, 3), 2.0)).item()
    4.0
    """
    with upcast(z) as (z,):
        return z.mean(-2).square().mean(-1)


def _centered(z: Tensor) -> Tensor:
    return z - z.mean(-2, keepdim=True)


def _deviation(centered: Tensor) -> Tensor:
    # Clamped before the root, whose slope at zero is infinite.
    deviation: Tensor = centered.square().mean(-2).clamp_min(SMALLEST**2).sqrt()
    return deviation


@register_objective("visreg")
class VISReg(Sketched):
    """``(1 − λ) view_variance + λ (w_1 scale_loss + w_2 shape_loss + w_3 center_loss)``, equations 7 to 9.

    As in LeJEPA the last three are of each view, averaged over the views.

    Args:
        weight: λ, from 0 to 1. The paper starts from 0.6 on small data sets and takes 0.9 on ImageNet.
        scale: weight w_1 of the scale of the embeddings.
        shape: weight w_2 of their shape; more of it is the paper's advice for poor data.
        center: weight w_3 of their center.
        slices: number of random directions.
        seed: of the directions.

    Raises:
        InputError: if an argument is out of range.

    >>> from metatc2.objectives import Embeddings
    >>> round(VISReg(shape=0, center=0)(Embeddings(torch.ones(2, 4, 2, 8))).item(), 3)  # collapsed: λ
    0.6
    """

    def __init__(
        self,
        weight: Fraction = 0.6,
        scale: NotNegative = 1.0,
        shape: NotNegative = 1.0,
        center: NotNegative = 1.0,
        slices: PositiveCount = 256,
        seed: NotNegativeCount = 0,
    ) -> None:
        super().__init__(weight, slices, seed)
        self.scale = not_negative(scale, "scale", self.name)
        self.shape = not_negative(shape, "shape", self.name)
        self.center = not_negative(center, "center", self.name)

    def regularization(self, z: Tensor, step: int) -> Tensor:
        """The three weighted terms of samples ``(..., n, D)``: ``(...)``."""
        return (
            self.scale * scale_loss(z)
            + self.shape * shape_loss(z, step=step, seed=self.seed, slices=self.slices)
            + self.center * center_loss(z)
        )

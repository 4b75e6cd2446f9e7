"""Ridge regression of many targets at many penalties, from one eigendecomposition."""

from __future__ import annotations

import torch
from torch import Tensor

# Directions with less variance than this share of the largest are rounding.
_NOTHING = 1e-12


class RidgePath:
    """Minima of ``|Y − 1b − ZW|² + ρ N |W|²`` for any ρ; Z are the features standardized, and the offset b bears no penalty.

    Standardized features and centered targets have ``W = U (Λ + ρ)⁻¹ Uᵀ Zᵀ Y / N`` with ``ZᵀZ / N = U Λ Uᵀ`` (Hastie,
    Tibshirani & Friedman, The Elements of Statistical Learning, section 3.4.1), so one decomposition, of the
    smaller of ``ZᵀZ`` and ``ZZᵀ``, serves all targets and penalties. scikit-learn's ``Ridge`` has the same minimum at
    ``alpha = ρ N``.

    Args:
        features: finite ``(N, d)``; columns that do not vary are left out.
        targets: finite ``(N, T)``.

    >>> x = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    >>> path = RidgePath(x, 2 * x)
    >>> path.predict(path.rotate(torch.tensor([[5.0]])), torch.tensor([1e-9])).round(decimals=3).tolist()
    [[10.0]]
    """

    def __init__(self, features: Tensor, targets: Tensor) -> None:
        x, y = features.double(), targets.double()
        self.mean, self.offset = x.mean(0), y.mean(0)
        std = x.std(0, correction=0)
        varies = std > _NOTHING * x.abs().amax(0)
        self.scale = torch.where(varies, 1 / std.where(varies, torch.ones_like(std)), 0.0)
        z = (x - self.mean) * self.scale
        self.variances, self.axes = _principal(z)
        self.along = (z @ self.axes).mT @ (y - self.offset) / len(x)

    def rotate(self, features: Tensor) -> Tensor:
        """Features ``(n, d)`` in the axes that `predict` takes them in, ``(n, r)``."""
        return ((features.double() - self.mean) * self.scale) @ self.axes

    def predict(self, rotated: Tensor, penalties: Tensor) -> Tensor:
        """Predictions ``(n, T)``.

        Args:
            rotated: of `rotate`.
            penalties: ρ, ``(T,)`` one a target or ``(1,)``, in units of the variance of a standardized feature; above 0.
        """
        return rotated @ (self.along / (self.variances[:, None] + penalties.double())) + self.offset


def _principal(z: Tensor) -> tuple[Tensor, Tensor]:
    """Variances ``(r,)`` and axes ``(d, r)`` of centered rows, of all directions in which they vary."""
    count, dim = z.shape
    wide = dim > count
    values, vectors = torch.linalg.eigh((z @ z.mT if wide else z.mT @ z) / count)
    some = values > _NOTHING * values.max().clamp_min(torch.finfo(z.dtype).tiny)
    values, vectors = values[some], vectors[:, some]
    return values, z.mT @ vectors / (values * count).sqrt() if wide else vectors

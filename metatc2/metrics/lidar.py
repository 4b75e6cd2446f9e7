"""LiDAR: how many directions tell images apart, measured against how far the views of one image lie apart."""

from __future__ import annotations

import torch
from torch import Tensor

from metatc2.errors import InputError
from metatc2.metrics.rank import entropy_rank
from metatc2.ops.rows import checked


def lidar(features: Tensor, *, delta: float = 1e-4) -> float:
    """LiDAR (Thilak et al. 2024, ICLR, arXiv 2312.04000): effective rank of ``Σ_w^(−1/2) Σ_b Σ_w^(−1/2)``.

    Each image is a class of its views: ``Σ_b`` is the covariance of the means of the images (over n − 1), ``Σ_w`` that of views
    around the mean of their image (over n (q − 1)) plus ``δ I``. A direction counts if it tells images apart more than
    augmentations move it; RankMe counts both. The paper's ε of 1e-7, which guards the logarithm, is left out.

    Args:
        features: floating point ``(n, q, d)``, q views of each of n images, both at least 2. The paper takes n = 1 000 and
            q = 50 (10 for the cheaper variant).
        delta: δ, in units of the features.

    Returns:
        Between 1 and min(n − 1, d); 0 where all images have the same mean.

    Raises:
        InputError: if the shape is another or a value is not finite.

    >>> axes = torch.eye(5)[:, None].repeat(1, 3, 1)         # five images, views alike: the mean takes one direction
    >>> round(lidar(axes), 6)
    4.0
    """
    if features.ndim != 3 or min(features.shape[:2]) < 2:
        raise InputError(
            f"LiDAR: features must be (n, q, d), at least 2 views of each of at least 2 images, got {tuple(features.shape)}"
        )
    if not delta > 0:
        raise InputError(f"LiDAR: delta must be above 0, got {delta}; 1e-4 is the paper's")
    n, q, d = features.shape
    rows = checked(features.flatten(0, 1), "LiDAR").double().view(n, q, d)
    means = rows.mean(1)
    apart = means - means.mean(0)
    within = (rows - means.unsqueeze(1)).flatten(0, 1)
    sigma_w = within.mT @ within / (n * (q - 1)) + delta * torch.eye(d, dtype=torch.float64, device=rows.device)
    # Σ_w = L Lᵀ: L⁻¹ Σ_b L⁻ᵀ has the eigenvalues that are asked for, those of a Gram matrix of n rows.
    whitened = torch.linalg.solve_triangular(torch.linalg.cholesky(sigma_w), apart.mT, upper=False)
    gram = whitened @ whitened.mT if d <= n else whitened.mT @ whitened
    values = torch.linalg.eigvalsh(gram)
    floor = values[-1].clamp_min(0) * max(n, d) * torch.finfo(torch.float64).eps
    return entropy_rank(values.where(values > floor, torch.zeros_like(values)))

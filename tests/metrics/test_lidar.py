"""LiDAR against the generalized eigenvalue problem, and what it is for."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from metatc2.errors import InputError
from metatc2.metrics.lidar import lidar


def restated(features: Tensor, delta: float) -> float:
    """With scipy's solver for ``Σ_b v = λ Σ_w v``, whose eigenvalues are those of the whitened matrix."""
    n, _, d = features.shape
    x = features.double().numpy()
    means = x.mean(1)
    between = np.cov(means.T)
    within = sum(np.cov(views.T) for views in x) / n + delta * np.eye(d)
    values = scipy.linalg.eigh(between, within, eigvals_only=True).clip(0)
    p = values[values > 1e-12 * values.max()] / values.sum()
    return float(np.exp(-(p * np.log(p)).sum()))


@pytest.mark.parametrize(("n", "q", "d"), [(40, 3, 6), (8, 5, 20)])
def test_it_is_the_rank_of_the_generalized_eigenvalues(n: int, q: int, d: int, seed_offset: int) -> None:
    g = torch.Generator().manual_seed(seed_offset)
    x = torch.randn(n, 1, d, generator=g) * torch.linspace(1, 3, d) + 0.3 * torch.randn(n, q, d, generator=g)
    assert lidar(x, delta=1e-3) == pytest.approx(restated(x, 1e-3), rel=1e-6)
    turn = torch.linalg.qr(torch.randn(d, d, generator=g)).Q
    assert lidar(x @ turn + 5.0, delta=1e-3) == pytest.approx(lidar(x, delta=1e-3), rel=1e-3)


def test_a_direction_that_augmentations_move_does_not_count(seed_offset: int) -> None:
    g = torch.Generator().manual_seed(seed_offset)
    told = torch.randn(200, 1, 4, generator=g).expand(200, 6, 4) + 0.05 * torch.randn(200, 6, 4, generator=g)
    noise = 30 * torch.randn(200, 6, 4, generator=g)
    both = torch.cat([told, noise], 2)
    assert lidar(told) == pytest.approx(4, abs=0.3)
    assert lidar(both) == pytest.approx(4, abs=0.3)


def test_what_cannot_be_measured_is_refused() -> None:
    for shape in ((5, 4), (1, 3, 4), (5, 1, 4)):
        with pytest.raises(InputError, match="LiDAR: features must be"):
            lidar(torch.rand(shape))
    with pytest.raises(InputError, match="delta must be above 0"):
        lidar(torch.rand(4, 3, 2), delta=0.0)
    with pytest.raises(InputError, match="LiDAR"):
        lidar(torch.full((4, 3, 2), torch.nan))
    assert lidar(torch.ones(4, 3, 2)) == 0

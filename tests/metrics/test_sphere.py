"""Alignment, uniformity and coding rate against their formulas restated."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from torch import Tensor

from metatc2.diagnostics import alignment, coding_rate, rate_reduction, uniformity
from metatc2.errors import InputError
from metatc2.ops import coding_rate as ops
from metatc2.ops.precision import unit


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def sphere(z: Tensor) -> np.ndarray:
    x = z.double().numpy()
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True))


@pytest.mark.parametrize("n", [2, 50, 2500])
def test_uniformity_is_the_log_mean_potential(n: int) -> None:
    z = random(n, 5) + 0.3
    expected = np.log(np.exp(-2 * pdist(sphere(z), "sqeuclidean")).mean())
    assert uniformity(z) == pytest.approx(expected, rel=1e-9)
    expected = np.log(np.exp(-0.5 * pdist(sphere(z), "sqeuclidean")).mean())
    assert uniformity(z, t=0.5) == pytest.approx(expected, rel=1e-9)


def test_uniformity_of_one_point_and_of_all_directions() -> None:
    assert uniformity(torch.ones(30, 4)) == pytest.approx(0, abs=1e-12)
    assert uniformity(random(800, 400)) == pytest.approx(-4, abs=0.03)
    assert uniformity(7 * random(90, 4)) == pytest.approx(uniformity(random(90, 4)), rel=1e-9)


@pytest.mark.parametrize("n", [3, 5000])
@pytest.mark.parametrize("alpha", [1.0, 2.0])
def test_alignment_is_the_mean_distance_of_views(n: int, alpha: float) -> None:
    a, b = random(n, 4), random(n, 4, seed=1)
    expected = (np.linalg.norm(sphere(a) - sphere(b), axis=1) ** alpha).mean()
    assert alignment(a, b, alpha=alpha) == pytest.approx(expected, rel=1e-9)
    assert alignment(a, 3 * a) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("shape", [(40, 6), (6, 40), (5000, 3)])
@pytest.mark.parametrize("eps2", [0.01, 0.5])
def test_coding_rate_is_half_a_log_determinant(shape: tuple[int, int], eps2: float) -> None:
    z = random(*shape)
    x, (n, d) = sphere(z), shape
    expected = 0.5 * np.linalg.slogdet(np.eye(d) + d / (n * eps2) * x.T @ x)[1]
    assert coding_rate(z, eps2=eps2) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("eps2", [0.1, 0.5])
def test_rate_reduction_has_each_image_as_a_class(eps2: float) -> None:
    a, b = random(30, 8), random(30, 8, seed=1)
    x = np.stack([sphere(a), sphere(b)], 1)  # image, view, d
    n, _, d = x.shape
    whole = 0.5 * np.linalg.slogdet(np.eye(d) + d / (2 * n * eps2) * np.einsum("nvd,nve->de", x, x))[1]
    within = 0.0
    for z in x:  # R_c of MCR²: m_j / 2m · logdet(I + d / (m_j ε²) Z_jᵀ Z_j)
        within += 2 / (2 * 2 * n) * np.linalg.slogdet(np.eye(d) + d / (2 * eps2) * z.T @ z)[1]
    assert rate_reduction(a, b, eps2=eps2) == pytest.approx(whole - within, rel=1e-9)


@pytest.mark.parametrize("shape", [(40, 16), (16, 40)])
@pytest.mark.parametrize("eps2", [1e-4, 1e-7])
def test_rates_of_single_precision_do_not_cancel(shape: tuple[int, int], eps2: float) -> None:
    """Of a loss too: features of low rank whose views are nearly one, at a small ε², by eigenvalues in float64."""
    n, d = shape
    base = random(n, 4) @ random(4, d, seed=1)
    one, other = (unit(base + 1e-3 * random(n, d, seed=seed)) for seed in (2, 3))
    x = np.stack([one.double().numpy(), other.double().numpy()], 1)  # image, view, d

    def half_log(z: np.ndarray) -> float:
        return float(np.log1p(d / (len(z) * eps2) * np.linalg.svd(z, compute_uv=False) ** 2).sum() / 2)

    pairs = [half_log(z) for z in x]
    np.testing.assert_allclose(ops.pair_rates(one, other, eps2).numpy(), pairs, rtol=1e-6)
    whole = half_log(x.reshape(2 * n, d))
    assert ops.coding_rate(torch.cat([one, other]), eps2).item() == pytest.approx(whole, rel=1e-6)
    assert rate_reduction(one, other, eps2=eps2) == pytest.approx(whole - np.mean(pairs), rel=1e-5)
    slope = torch.autograd.functional.jacobian(lambda z: ops.coding_rate(z, eps2), one)
    assert slope.dtype == one.dtype
    assert bool(slope.isfinite().all())


def test_collapsed_features_have_no_rate_to_reduce() -> None:
    same = torch.ones(64, 32)
    assert rate_reduction(same, same) == pytest.approx(0, abs=1e-9)
    tight, loose = random(64, 32), random(64, 32, seed=1)
    assert rate_reduction(tight, tight) > rate_reduction(tight, loose)


def test_what_cannot_be_measured_is_refused() -> None:
    z = random(10, 4)
    holed = z.clone()
    holed[3, 2] = float("inf")
    for call in (lambda: uniformity(holed), lambda: alignment(z, holed), lambda: coding_rate(holed)):
        with pytest.raises(InputError, match="1 of 10 rows are NaN or infinite"):
            call()
    with pytest.raises(InputError, match="at least 2 rows, got 1"):
        uniformity(z[:1])
    with pytest.raises(InputError, match="at least 2 rows, got 1"):
        coding_rate(z[:1])
    for figure in (alignment, rate_reduction):
        with pytest.raises(InputError, match="got 10 and 9 rows"):
            figure(z, z[:9])
        with pytest.raises(InputError, match="same width, got 4 and 3"):
            figure(z, z[:, :3])
    with pytest.raises(InputError, match="eps2 must be above 0, got 0"):
        coding_rate(z, eps2=0)

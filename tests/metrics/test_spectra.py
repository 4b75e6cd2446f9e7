"""Spectra against a plain singular value decomposition, and against spectra that are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from metatc2.diagnostics import (
    collapse,
    deviations,
    effective_rank,
    entropy_rank,
    nesum,
    power_law,
    rankme,
    singular_values,
    variances,
)
from metatc2.errors import InputError
from metatc2.objectives import rankme as watched_rank


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def with_spectrum(eigenvalues: Tensor, n: int = 300) -> Tensor:
    """Features whose covariance has exactly these eigenvalues, with a mean of their own."""
    dim = len(eigenvalues)
    rows = random(n, dim).double()
    basis = torch.linalg.qr(rows - rows.mean(0))[0]
    turn = torch.linalg.qr(random(dim, dim, seed=1).double())[0]
    return basis * (n * eigenvalues.double()).sqrt() @ turn + 0.3


@pytest.mark.parametrize("shape", [(50, 8), (8, 50), (9000, 3)])
@pytest.mark.parametrize("center", [False, True])
def test_singular_values_are_those_of_a_decomposition(shape: tuple[int, int], center: bool) -> None:
    z = random(*shape) * torch.linspace(0.1, 2, shape[1]) + 0.5
    x = z.double().numpy()
    expected = np.linalg.svd(x - x.mean(0) if center else x, compute_uv=False)
    found = singular_values(z, center=center).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-6)
    assert (np.diff(found) <= 0).all()


def test_rankme_and_effective_rank_restated() -> None:
    z = random(60, 12) * torch.logspace(0, -2, 12) + 0.2
    x = z.double().numpy()
    s = np.linalg.svd(x, compute_uv=False)
    p = s / s.sum() + 1e-7  # the paper's ε
    assert rankme(z) == pytest.approx(math.exp(-(p * np.log(p)).sum()), rel=1e-5)
    assert rankme(z) == pytest.approx(watched_rank(z), rel=1e-9)
    q = np.linalg.eigvalsh(np.cov(x.T))
    q = q / q.sum()
    assert effective_rank(z) == pytest.approx(math.exp(-(q * np.log(q)).sum()), rel=1e-9)
    assert nesum(variances(z)) == pytest.approx(q.sum() / q.max(), rel=1e-9)
    np.testing.assert_allclose(variances(z), np.linalg.eigvalsh(np.cov(x.T, bias=True))[::-1], rtol=1e-9)


@pytest.mark.parametrize("k", [1, 3, 8])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_k_equal_directions_count_k(k: int, scale: float) -> None:
    z = scale * with_spectrum(torch.cat([torch.ones(k), torch.zeros(8 - k)]))
    assert effective_rank(z) == pytest.approx(k, rel=1e-6)
    assert nesum(variances(z)) == pytest.approx(k, rel=1e-6)
    assert int((variances(z.float()) > 0).sum()) == k  # what single precision rounds off is no direction
    assert rankme(z - z.mean(0)) == pytest.approx(k, rel=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0, 2.3])
def test_the_exponent_of_a_power_law_is_recovered(alpha: float) -> None:
    z = with_spectrum(torch.arange(1, 61).double() ** -alpha)
    fit = power_law(variances(z))
    assert fit.alpha == pytest.approx(alpha, abs=1e-6)
    assert fit.r2 == pytest.approx(1, abs=1e-6)
    assert (fit.first, fit.last) == (7, 30)


def test_the_fit_is_weighted_least_squares_on_log_axes() -> None:
    eigenvalues = torch.arange(1, 1501).double() ** -1.2 * random(1500).double().mul(0.3).exp()
    eigenvalues = eigenvalues.sort(descending=True).values
    fit = power_law(eigenvalues)
    i = np.arange(11, 501)
    y = np.log(eigenvalues.numpy()[10:500])
    slope, offset = np.polyfit(np.log(i), y, 1, w=np.sqrt(1 / i))
    weight = (1 / i) / (1 / i).sum()
    spread = (weight * (y - (weight * y).sum()) ** 2).sum()
    r2 = 1 - (weight * (y - slope * np.log(i) - offset) ** 2).sum() / spread
    assert fit.alpha == pytest.approx(-slope, rel=1e-9)
    assert fit.r2 == pytest.approx(r2, rel=1e-9)
    assert power_law(eigenvalues, first=3, last=50).last == 50


def test_features_without_variance_have_no_rank() -> None:
    z = (random(1, 6).double() / 3).expand(37, 6)  # whose mean is not exact
    assert effective_rank(z) == 0
    assert nesum(variances(z)) == 0
    assert math.isnan(power_law(variances(z)).alpha)
    assert rankme(z) == pytest.approx(1)
    assert entropy_rank(torch.zeros(3)) == 0


def test_collapse_counts_dead_dimensions() -> None:
    z = random(5000, 10)
    z[:, 3] *= 0.1
    z[:, 4] *= 0.001
    z[:, 5:] = 7.0
    np.testing.assert_allclose(deviations(z), z.double().numpy().std(0), atol=1e-12)
    found = collapse(z)
    assert found.dead == pytest.approx(0.6)
    assert found.std_min == 0
    assert found.std_max == pytest.approx(1, rel=0.05)
    assert found.unit_std_healthy == pytest.approx(10**-0.5)


def test_collapse_says_what_is_wrong() -> None:
    assert collapse(random(200, 16)).sentence is None
    assert "one point" in str(collapse(torch.ones(200, 16)).sentence)
    assert collapse(torch.ones(200, 16)).dead == 1
    assert "lost rank" in str(collapse(random(200, 1) @ random(1, 16)).sentence)


@pytest.mark.parametrize("figure", [rankme, effective_rank, variances, collapse])
def test_what_is_no_set_of_features_is_refused(figure: object) -> None:
    assert callable(figure)
    z = random(10, 4)
    z[3, 2] = float("nan")
    with pytest.raises(InputError, match="1 of 10 rows are NaN or infinite .first at row 3."):
        figure(z)
    with pytest.raises(InputError, match="at least 2 rows, got 1"):
        figure(random(1, 4))
    with pytest.raises(InputError, match=r"\(N, d\), got torch.float32 \(2, 3, 4\)"):
        figure(random(2, 3, 4))
    with pytest.raises(InputError, match="floating point"):
        figure(torch.ones(3, 3, dtype=torch.int64))

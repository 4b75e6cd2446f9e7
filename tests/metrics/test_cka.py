"""Linear CKA: the Gram form restated, Song et al.'s estimator term by term, and the invariances that define it."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from metatc2.diagnostics import linear_cka, minibatch_cka
from metatc2.errors import InputError


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def gram_cka(x: Tensor, y: Tensor) -> float:
    """Kornblith et al. 2019, eq. 3, with HSIC = tr(K H L H)."""
    n = len(x)
    h = np.eye(n) - 1 / n
    k, m = (z.double().numpy() @ z.double().numpy().T for z in (x, y))

    def hsic(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.trace(a @ h @ b @ h))

    return hsic(k, m) / math.sqrt(hsic(k, k) * hsic(m, m))


def song(x: Tensor, y: Tensor) -> float:
    """Song et al. 2012, eq. 5, on Gram matrices without their diagonals."""
    n = len(x)
    k, m = (z.double().numpy() @ z.double().numpy().T for z in (x, y))
    np.fill_diagonal(k, 0)
    np.fill_diagonal(m, 0)
    one = np.ones(n)
    terms = (
        np.trace(k @ m) + (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2)) - 2 / (n - 2) * (one @ k @ m @ one)
    )
    return float(terms / (n * (n - 3)))


@pytest.mark.parametrize(("n", "d", "e"), [(50, 4, 7), (12, 30, 40), (4, 3, 3)])
def test_both_forms_and_both_estimators(n: int, d: int, e: int) -> None:
    x = random(n, d) + 2
    y = x @ random(d, e, seed=1) + 3 * random(n, e, seed=2)
    assert linear_cka(x, y) == pytest.approx(gram_cka(x, y), rel=1e-9)
    expected = song(x, y) / math.sqrt(song(x, x) * song(y, y)) if song(x, x) > 0 < song(y, y) else math.nan
    assert linear_cka(x, y, debiased=True) == pytest.approx(expected, rel=1e-6, nan_ok=True)


def test_many_rows_are_summed_in_blocks() -> None:
    x = random(9000, 3) + 100
    y = x @ random(3, 2, seed=1) + random(9000, 2, seed=2)
    a, b = (z.double() - z.double().mean(0) for z in (x, y))
    expected = (a.T @ b).square().sum() / (a.T @ a).norm() / (b.T @ b).norm()
    assert linear_cka(x, y) == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.parametrize("debiased", [False, True])
def test_blind_to_rotation_scale_and_offset_but_not_to_stretching(debiased: bool) -> None:
    x, other = random(60, 8), random(60, 5, seed=3)
    turn = torch.linalg.qr(random(8, 8, seed=1))[0]
    assert linear_cka(x, 5 * x @ turn - 3, debiased=debiased) == pytest.approx(1, abs=1e-5)
    before = linear_cka(x, other, debiased=debiased)
    assert linear_cka(7 * x @ turn + 1, other, debiased=debiased) == pytest.approx(before, abs=1e-5)
    assert linear_cka(other, x, debiased=debiased) == pytest.approx(before, abs=1e-9)
    stretched = x * torch.logspace(0, 2, 8)
    assert linear_cka(x, stretched, debiased=debiased) < 0.7


def test_unrelated_features_look_alike_only_to_the_biased_estimator(seed_offset: int) -> None:
    x, y = (random(60, 600, seed=seed_offset + i) for i in range(2))
    assert linear_cka(x, y) > 0.85
    assert abs(linear_cka(x, y, debiased=True)) < 0.1


def test_hsic_over_all_minibatches_is_hsic_of_the_whole() -> None:
    """Nguyen et al. 2021: the estimator is a U-statistic, so averaging it over all subsets changes nothing."""
    x = random(7, 3)
    y = x @ random(3, 3, seed=1) + 0.5 * random(7, 3, seed=2)
    subsets = [list(rows) for rows in itertools.combinations(range(7), 5)]
    found = minibatch_cka((x[rows], y[rows]) for rows in subsets)
    assert found == pytest.approx(linear_cka(x, y, debiased=True), rel=1e-5)


def test_minibatches_average_hsic_and_not_cka() -> None:
    x = random(40, 3)
    y = x @ random(3, 4, seed=1) + 2 * random(40, 4, seed=2)
    pairs = list(zip(x.split(10), y.split(10), strict=True))
    cross, own_x, own_y = (
        np.mean([song(*pick(p)) for p in pairs])
        for pick in (lambda p: p, lambda p: (p[0], p[0]), lambda p: (p[1], p[1]))
    )
    assert minibatch_cka(pairs) == pytest.approx(cross / math.sqrt(own_x * own_y), rel=1e-6)


def test_features_that_do_not_vary_have_no_likeness() -> None:
    constant = torch.full((20, 3), 0.1)
    assert math.isnan(linear_cka(random(20, 3), constant))
    assert math.isnan(linear_cka(constant, random(20, 3), debiased=True))


def test_what_cannot_be_compared_is_refused() -> None:
    x = random(10, 4)
    with pytest.raises(InputError, match="same images in the same order, got 10 and 9 rows"):
        linear_cka(x, x[:9])
    with pytest.raises(InputError, match="at least 4 rows, got 3"):
        linear_cka(x[:3], x[:3], debiased=True)
    with pytest.raises(InputError, match="NaN or infinite"):
        linear_cka(x, x / 0)
    with pytest.raises(InputError, match="got no batch"):
        minibatch_cka([])

"""LogME, H-score and rank correlations against the published formulas, written out plainly."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from metatc2.errors import InputError
from metatc2.transfer.estimates import h_score, log_me, rank_correlation

Array = NDArray[np.float64]


def data(count: int, width: int, classes: int = 3, *, spread: float = 1.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    means = torch.randn(classes, width, generator=g, dtype=torch.float64)
    return means[labels] + spread * torch.randn(count, width, generator=g, dtype=torch.float64) + 0.5, 7 * labels


def best_evidence(f: Array, y: Array) -> float:
    """Equation 2 of the paper in its other form: y is normal with covariance I/β + FFᵀ/α; maximised by a library."""
    lengths, axes = np.linalg.eigh(f @ f.T)
    squares = (axes.T @ y) ** 2

    def loss(logs: Array) -> float:
        variances = np.exp(-logs[1]) + lengths * np.exp(-logs[0])  # of the covariance, along the axes
        return float(len(f) * math.log(2 * math.pi) + np.log(variances).sum() + (squares / variances).sum()) / 2

    options = {"method": "Nelder-Mead", "tol": 1e-8, "bounds": [(-10, 25), (-10, 25)]}
    return max(-float(minimize(loss, np.array(s), **options).fun) for s in ((0.0, 2.0), (4.0, 0.0), (4.0, 5.0)))


@pytest.mark.parametrize(("count", "width", "spread"), [(40, 5, 1.0), (40, 5, 0.1), (24, 12, 3.0), (18, 30, 2.0)])
def test_log_me_is_the_maximum_of_the_evidence(count: int, width: int, spread: float) -> None:
    features, labels = data(count, width, spread=spread)
    expected = [best_evidence(features.numpy(), (labels == c).double().numpy()) / count for c in labels.unique()]
    assert log_me(features, labels) == pytest.approx(np.mean(expected), abs=1e-6)


def test_log_me_satisfies_the_fixed_point_equations() -> None:
    """The evidence as the paper writes it (equation 3), at an α and β iterated by plain matrices."""
    features, labels = data(60, 8)
    f, n, d = features.numpy(), 60, 8
    found = []
    for c in labels.unique():
        y = (labels == c).double().numpy()
        alpha = beta = 1.0
        for _ in range(200):
            a = alpha * np.eye(d) + beta * f.T @ f
            m = beta * np.linalg.solve(a, f.T @ y)
            gamma = d - alpha * np.trace(np.linalg.inv(a))
            alpha, beta = gamma / (m @ m), (n - gamma) / np.sum((f @ m - y) ** 2)
        a = alpha * np.eye(d) + beta * f.T @ f
        m = beta * np.linalg.solve(a, f.T @ y)
        evidence = n / 2 * math.log(beta) + d / 2 * math.log(alpha) - n / 2 * math.log(2 * math.pi)
        evidence -= beta / 2 * np.sum((f @ m - y) ** 2) + alpha / 2 * (m @ m) + np.linalg.slogdet(a)[1] / 2
        found.append(evidence / n)
    assert log_me(features, labels) == pytest.approx(np.mean(found), abs=1e-9)


def test_log_me_does_not_change_with_what_does_not_matter() -> None:
    features, labels = data(50, 6)
    whole = log_me(features, labels)
    turned = (
        features
        @ torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))[0]
    )
    assert log_me(turned, labels) == pytest.approx(whole, abs=1e-9)
    assert log_me(3 * features, labels) == pytest.approx(whole, abs=1e-9)
    assert log_me(torch.cat([features, torch.zeros(50, 4)], 1), labels) == pytest.approx(whole, abs=1e-9)
    assert log_me(features, labels - 3) == whole
    assert log_me(features.float(), labels) == pytest.approx(whole, abs=1e-5)


def test_log_me_at_the_edges_is_finite_and_in_order() -> None:
    labels = torch.arange(40) % 2
    exact = torch.eye(2)[labels]
    noise = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    scores = [log_me(exact, labels), log_me(exact + 0.3 * noise, labels), log_me(exact + 3 * noise, labels)]
    assert all(math.isfinite(score) for score in scores)
    assert scores == sorted(scores, reverse=True)
    # One pixel an image, constant over the classes: only the mean of y can be told.
    assert math.isfinite(log_me(torch.ones(40, 1), labels))
    # At right angles to every class: nothing can be told, and α goes to infinity.
    assert math.isfinite(log_me(torch.tensor([[1.0], [1.0], [-1.0], [-1.0]]), torch.tensor([0, 1, 0, 1])))


def plain_h_score(f: Array, y: Array, *, shrunk: bool = False) -> float:
    """Definition 2, with the conditional mean written in place of each image's features."""
    conditional = np.stack([f[y == label].mean(0) for label in y])
    covariance, between = np.cov(f.T, bias=True), np.cov(conditional.T, bias=True)
    if not shrunk:
        return float(np.trace(np.linalg.pinv(covariance) @ between))
    # Ledoit and Wolf 2004, lemma 3.2 to 3.4: a = b²/d² with d² = |S − mI|², b² = mean over images of |xxᵀ − S|² / n.
    n, d = f.shape
    x, mu = f - f.mean(0), np.trace(covariance) / d
    distance = np.sum((covariance - mu * np.eye(d)) ** 2)
    spread = sum(np.sum((np.outer(row, row) - covariance) ** 2) for row in x) / n**2
    a = min(spread, distance) / distance
    assert 0.01 < a < 0.99
    return float((1 - a) * np.trace(np.linalg.inv((1 - a) * covariance + a * mu * np.eye(d)) @ between))


@pytest.mark.parametrize("shrinkage", [False, True])
@pytest.mark.parametrize(("count", "width"), [(60, 5), (40, 12), (15, 30)])
def test_h_score_is_its_definition(count: int, width: int, shrinkage: bool) -> None:
    features, labels = data(2 * count, width)
    kept = torch.cat([torch.arange(count // 2), torch.arange(count, 2 * count)[labels[count:] == 7]])  # unequal classes
    features, labels = features[kept] * torch.arange(1, width + 1), labels[kept]
    expected = plain_h_score(features.numpy(), labels.numpy(), shrunk=shrinkage)
    assert h_score(features, labels, shrinkage=shrinkage) == pytest.approx(expected, rel=1e-8)


def test_h_score_lies_between_nothing_and_the_classes() -> None:
    features, labels = data(3000, 6, spread=0.01)
    assert h_score(features, labels) == pytest.approx(2, abs=1e-3)
    assert h_score(features @ torch.diag(torch.arange(1.0, 7, dtype=torch.float64)), labels) == pytest.approx(
        h_score(features, labels), rel=1e-6
    )
    assert 0 <= h_score(features, labels[torch.randperm(3000, generator=torch.Generator().manual_seed(0))]) < 0.02


def test_rank_correlations_are_their_definitions() -> None:
    a, b = [0.3, 0.1, 0.9, 0.5, 0.7], [2.0, 1.0, 4.0, 5.0, 3.0]
    found = rank_correlation(a, torch.tensor(b))

    def tau(weight: dict[int, float]) -> float:
        pairs = list(itertools.combinations(range(5), 2))
        signs = [np.sign((a[i] - a[j]) * (b[i] - b[j])) for i, j in pairs]
        weights = [weight[i] + weight[j] for i, j in pairs]
        return float(np.dot(signs, weights) / np.sum(weights))

    assert found.kendall == pytest.approx(tau(dict.fromkeys(range(5), 1.0)))
    # Vigna 2015: the weight of a pair is 1/(rank + 1) added over the two, averaged over the two sides' own ranks.
    by_a, by_b = (
        {i: 1 / (1 + r) for r, i in enumerate(sorted(range(5), key=lambda i: -s[i]))}
        for s in (np.array(a), np.array(b))
    )
    assert found.weighted_kendall == pytest.approx((tau(by_a) + tau(by_b)) / 2)
    squares = sum((sorted(a).index(x) - sorted(b).index(y)) ** 2 for x, y in zip(a, b, strict=True))
    assert found.spearman == pytest.approx(1 - 6 * squares / (5 * 24))
    assert found.encoders == 5


def test_estimates_order_encoders_of_growing_noise() -> None:
    noises = [0.3, 1.0, 2.0, 4.0]
    sets = [data(300, 8, spread=s) for s in noises]
    for estimate in (log_me, h_score):
        assert rank_correlation([estimate(*s) for s in sets], [-s for s in noises]).kendall == pytest.approx(1)


def test_bad_input() -> None:
    features, labels = data(20, 4)
    for estimate in (log_me, h_score):
        with pytest.raises(InputError, match="one class"):
            estimate(features, torch.zeros(20, dtype=torch.int64))
        with pytest.raises(InputError, match=r"\(N, D\)"):
            estimate(features, labels[1:])
        with pytest.raises(InputError, match="NaN"):
            estimate(features * torch.nan, labels)
    with pytest.raises(InputError, match="LogME: all features are zero"):
        log_me(0 * features, labels)
    with pytest.raises(InputError, match="H-score: all images have the same features"):
        h_score(0 * features + 2, labels)
    with pytest.raises(InputError, match="at least 3 encoders"):
        rank_correlation([1.0, 2.0], [1.0, 2.0])
    with pytest.raises(InputError, match="at least 3 encoders"):
        rank_correlation([1.0, 2.0, 3.0], [1.0, 2.0])
    with pytest.raises(InputError, match="estimates must be finite"):
        rank_correlation([1.0, math.nan, 3.0], [1.0, 2.0, 3.0])
    with pytest.raises(InputError, match="measured are all 2"):
        rank_correlation([1.0, 5.0, 3.0], [2.0, 2.0, 2.0])

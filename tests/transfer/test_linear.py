"""The linear protocol against scikit-learn at every l2; what is chosen, and how it is scored."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import logsumexp
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from torch import Tensor

from metatc2.errors import InputError
from metatc2.transfer._lbfgs import softmax_regression
from metatc2.transfer.protocols.linear import L2_GRID, _Axes, _scores, linear

from ..covering import covered

GRID = (1e-3, 1e-1, 1.0, 10.0, 1e3)
Sides = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def data(width: int = 10, classes: int = 4, train: int = 120) -> Sides:
    g = torch.Generator().manual_seed(0)
    n = train + 160
    # Classes of different sizes, labels with gaps, columns of different scales that share a factor.
    place = (torch.rand(n, generator=g).square() * classes).long()
    place[:classes] = torch.arange(classes)
    x = (10 / width) ** 0.5 * torch.randn(classes, width, generator=g)[place] + 1.3 * torch.randn(n, width, generator=g)
    x = (x + torch.randn(n, 1, generator=g)) * torch.logspace(-1, 1, width) + 5
    x, y = x.double(), 3 * place + 1
    a, b = train, train + 60
    return x[:a], y[:a], x[a:b], y[a:b], x[b:], y[b:]


def oracle(x: Tensor, y: Tensor, l2: float) -> LogisticRegression:
    return LogisticRegression(C=1 / l2, solver="newton-cg", tol=1e-10, max_iter=2000).fit(x.numpy(), y.numpy())


@cache
def oracles(width: int) -> list[LogisticRegression]:
    """Of `data` at every value of the grid."""
    x, y, *_ = data(width)
    return [oracle(x, y, l2) for l2 in GRID]


def loss(model: LogisticRegression, x: Tensor, y: Tensor, per_class: bool = False) -> float:
    columns = np.searchsorted(model.classes_, y.numpy())
    each = -model.predict_log_proba(x.numpy())[np.arange(len(y)), columns]
    if not per_class:
        return float(each.mean())
    return float(np.mean([each[columns == c].mean() for c in np.unique(columns)]))


# With 150 there are more dimensions than rows.
@pytest.mark.parametrize(("width", "per_class"), covered((10, 150), (True, False), strength=1))
def test_every_choice_equals_scikit_learn(width: int, per_class: bool) -> None:
    sides = data(width)
    score = balanced_accuracy_score if per_class else lambda truth, found: np.mean(truth == found)
    found = linear(*sides, grid=GRID, per_class=per_class, tolerance=1e-12)
    x, y, xv, yv, xt, yt = sides
    expected = [score(yv.numpy(), model.predict(xv.numpy())) for model in oracles(width)]
    np.testing.assert_allclose(found.validation.numpy(), expected, atol=1e-12)
    losses = [loss(model, xv, yv, per_class) for model in oracles(width)]
    np.testing.assert_allclose(found.validation_loss.numpy(), losses, rtol=1e-4)
    # Of equals the one with the lower cross-entropy.
    best = max(range(len(GRID)), key=lambda i: (expected[i], -losses[i]))
    assert found.l2 == GRID[best]
    assert found.converged == len(GRID) + 1
    predicted = oracle(torch.cat([x, xv]), torch.cat([y, yv]), found.l2).predict(xt.numpy())
    np.testing.assert_array_equal(found.correct.numpy(), (predicted == yt.numpy()).astype(float))
    assert found.accuracy == pytest.approx(score(yt.numpy(), predicted), abs=1e-12)
    assert len(set(expected)) > 1


@pytest.mark.parametrize("shared", [True, False])
def test_weights_equal_scikit_learn(shared: bool) -> None:
    x, y = data()[:2]
    y = y // 3
    x = x - x.mean(0)
    l2 = torch.tensor([1e-2, 1.0, 100.0], dtype=torch.float64)
    inputs, labels = (x[None], y[None]) if shared else (x.expand(3, -1, -1), y.expand(3, -1))
    found, met = softmax_regression(inputs, labels, 4, l2, tolerance=1e-14, steps=3000)
    assert met.all()
    for w, strength in zip(found, l2.tolist(), strict=True):
        head = oracle(x, y, strength)
        np.testing.assert_allclose(w[:-1].T.numpy(), head.coef_, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(w[-1] - w[-1].mean(), head.intercept_ - head.intercept_.mean(), rtol=1e-4, atol=1e-5)


def test_groups_and_their_order_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    sides, grid = data(), (*GRID[1:], 30.0)  # more than a group
    whole = linear(*sides, grid=grid, tolerance=1e-12)
    turned = linear(*sides, grid=grid[::-1], tolerance=1e-12)
    assert torch.equal(turned.validation.flip(0), whole.validation)
    assert turned.l2 == whole.l2
    monkeypatch.setitem(linear.__globals__, "_GROUP", 1)
    assert torch.equal(linear(*sides, grid=grid, tolerance=1e-12).validation, whole.validation)


@pytest.mark.slow
@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_the_default_in_single_precision_is_close_to_the_minimum(every: int) -> None:
    x, y, xv, yv, xt, yt = data()
    exact = linear(x, y, xv, yv, xt, yt, grid=L2_GRID[::every], tolerance=1e-8)
    found = linear(x.float(), y, xv.float(), yv, xt.float(), yt, grid=L2_GRID[::every])
    assert len(L2_GRID) == 45
    assert (L2_GRID[0], L2_GRID[-1]) == pytest.approx((1e-6, 1e5))
    assert found.converged == len(L2_GRID[::every]) + 1
    assert (
        float((found.validation - exact.validation).abs().max()) <= 3 / 60 + 1e-9
    )  # of 60 images, three at the weakest l2


@pytest.mark.parametrize("width", [10, 150])
def test_a_solution_scores_the_same_in_other_axes(width: int) -> None:
    x, _, xv, *_ = data(width)
    here, there = _Axes(x), _Axes(torch.cat([x, xv]))
    w = torch.randn(here.axes.shape[1] + 1, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(_scores(there.rotate(x), there.converted(w, here)), _scores(here.rotate(x), w))


def test_test_plays_no_part_in_the_choice() -> None:
    x, y, xv, yv, xt, yt = data()
    whole, some = linear(x, y, xv, yv, xt, yt, grid=GRID), linear(x, y, xv, yv, xt[:7], yt[:7], grid=GRID)
    assert torch.equal(some.correct, whole.correct[:7])
    assert torch.equal(some.validation, whole.validation)


def test_bad_input() -> None:
    x, y, xv, yv, xt, yt = data()
    with pytest.raises(InputError, match="validation must be"):
        linear(x, y, xv[:, :3], yv, xt, yt)
    with pytest.raises(InputError, match="one label a row"):
        linear(x, y[1:], xv, yv, xt, yt)
    with pytest.raises(InputError, match="one class"):
        linear(x, y * 0, xv, yv * 0, xt, yt * 0)
    with pytest.raises(InputError, match="above 0"):
        linear(x, y, xv, yv, xt, yt, grid=(0.0, 1.0))
    with pytest.raises(InputError, match="test has classes"):
        linear(x, y, xv, yv, xt, yt + 100)
    with pytest.raises(InputError, match="NaN"):
        linear(x, y, xv * torch.nan, yv, xt, yt)


@pytest.mark.parametrize("classes", [2, 3])
def test_l2_is_one_over_c_and_two_over_c_for_two_classes(classes: int) -> None:
    """scikit-learn has one vector for two classes: half the squared length of the two that share it here."""
    x, y, *_ = data(classes=classes)
    y = y // 3
    x = x - x.mean(0)
    for l2 in (0.1, 3.0):
        c = (2 if classes == 2 else 1) / l2
        (w,), met = softmax_regression(
            x[None], y[None], classes, torch.tensor([l2], dtype=torch.float64), tolerance=1e-14
        )
        head = LogisticRegression(C=c, tol=1e-10, max_iter=5000).fit(x.numpy(), y.numpy())
        assert met.all()
        if classes == 2:
            np.testing.assert_allclose((w[:-1, 1] - w[:-1, 0]).numpy(), head.coef_[0], atol=1e-4)
            assert float(w[-1, 1] - w[-1, 0]) == pytest.approx(float(head.intercept_[0]), abs=1e-4)
        else:
            np.testing.assert_allclose(w[:-1].T.numpy(), head.coef_, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_converged_is_the_minimum_also_where_weak_penalties_let_the_loss_vanish(dtype: torch.dtype, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(120) % 3
    x = 3 * torch.randn(3, 12, generator=g)[y] + torch.randn(120, 12, generator=g)
    x = x - x.mean(0)
    l2 = [1e-6, 1e-4, 1e-2, 1.0]
    found, met = softmax_regression(x[None].to(dtype), y[None], 3, torch.tensor(l2, dtype=torch.float64))
    assert met.all()
    for w, strength in zip(found, l2, strict=True):
        inputs, start = x.double().numpy(), w.double().numpy().ravel()
        best = minimize(
            objective,
            start,
            args=(inputs, y.numpy(), strength),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": 20000, "maxfun": 40000, "ftol": 1e-16, "gtol": 1e-14, "maxcor": 40},
        )
        value, gradient = objective(start, inputs, y.numpy(), strength)
        assert value <= 1.001 * best.fun
        assert abs(gradient).max() <= 0.05 * max(value, 1e-12)
    # Too few steps are not called convergence.
    assert not softmax_regression(x[None].to(dtype), y[None], 3, torch.tensor([1e-6], dtype=torch.float64), steps=8)[
        1
    ].any()


def objective(flat: np.ndarray, x: np.ndarray, y: np.ndarray, l2: float) -> tuple[float, np.ndarray]:
    w = flat.reshape(x.shape[1] + 1, -1)
    z = x @ w[:-1] + w[-1]
    logs = z - logsumexp(z, axis=1, keepdims=True)
    p, truth = np.exp(logs), np.eye(w.shape[1])[y]
    # log p of the true class from the others, which a difference from 1 would lose.
    wrong = (p * (1 - truth)).sum(1)
    fit = np.where(wrong < 0.5, -np.log1p(-np.minimum(wrong, 0.5)), -(logs * truth).sum(1)).sum()
    residual = p * (1 - truth) - truth * wrong[:, None]
    gradient = np.vstack([x.T @ residual + l2 * w[:-1], residual.sum(0)])
    return float(fit + l2 / 2 * (w[:-1] ** 2).sum()), gradient.ravel()

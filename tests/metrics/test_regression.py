"""Probes by regression against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from torch import Tensor

from metatc2.errors import InputError
from metatc2.metrics.regression import STRENGTHS, fit_mlp, fit_ridge, r2_by_row


def data(n: int, seed: int, noise: float = 0.5) -> tuple[Tensor, Tensor]:
    """Features of unequal scales, and two columns: one linear in them, one of their product."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 6, generator=g, dtype=torch.float64)
    y = torch.stack([x[:, 0] - 2 * x[:, 1], x[:, 2] * x[:, 3]], 1)
    y = y + noise * torch.randn(n, 2, generator=g, dtype=torch.float64)
    return x * torch.tensor([1.0, 10.0, 0.1, 1.0, 1.0, 1.0]) + 3, y


@pytest.mark.parametrize("n", [300, 5])  # more and fewer rows than features
def test_ridge_is_that_of_scikit_learn_at_the_best_strength(n: int) -> None:
    (x, y), (v, vy) = data(n, 0), data(100, 1)
    mean, scale = x.mean(0), x.std(0)
    rows = ((x - mean) / scale).numpy()
    unit = np.square(np.linalg.svd(rows, compute_uv=False)).mean()
    best = {}
    for strength in STRENGTHS:
        model = Ridge(alpha=strength * unit).fit(rows, y.numpy())
        best[strength] = model.predict(((v - mean) / scale).numpy())
    scores = {strength: r2_score(vy, found) for strength, found in best.items()}
    chosen = max(scores, key=scores.__getitem__)
    fitted = fit_ridge(x, y, v, vy)
    assert fitted.strengths == (chosen,)
    np.testing.assert_allclose(fitted(v).numpy(), best[chosen], atol=1e-8)


def test_each_part_has_the_strength_that_is_best_for_it() -> None:
    """One for all would be that of what is told well, and what is not told at all would be over-fitted."""
    (x, y), (v, vy) = data(30, 0), data(100, 1)
    y[:, 1], vy[:, 1] = y[:, 1].roll(1), vy[:, 1].roll(1)
    both = fit_ridge(x, y, v, vy, [1, 1])
    for column in range(2):
        part = slice(column, column + 1)
        own = fit_ridge(x, y[:, part], v, vy[:, part])
        assert both.strengths[column] == own.strengths[0]
        torch.testing.assert_close(both(v)[:, part], own(v))
    assert both.strengths[1] > both.strengths[0]


def test_r2_is_that_of_scikit_learn_column_by_column() -> None:
    _, y = data(50, 0)
    predicted = y + torch.randn(50, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    oracle = r2_score(y, predicted, multioutput="raw_values")
    np.testing.assert_allclose(r2_by_row(predicted, y).mean(0), oracle)


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nearly all of the time goes to the width of the network."""
    monkeypatch.setattr("metatc2.metrics.regression._HIDDEN", 64)


@pytest.mark.slow
@pytest.mark.usefixtures("narrow")
def test_network_tells_what_ridge_cannot() -> None:
    (x, y), (v, vy), (t, ty) = data(500, 0, 0.1), data(200, 1, 0.1), data(400, 2, 0.1)
    before = torch.random.get_rng_state()
    network, ridge = fit_mlp(x, y, v, vy), fit_ridge(x, y, v, vy)
    assert torch.equal(torch.random.get_rng_state(), before)  # no global state is used
    of_network, of_ridge = (r2_by_row(probe(t), ty).mean(0) for probe in (network, ridge))
    assert of_ridge[0] > 0.95
    assert of_ridge[1] < 0.1  # a product is nothing linear
    assert (of_network > 0.7).all()
    x, y = x[:20], y[:20]
    assert torch.equal(fit_mlp(x, y, v, vy)(t), fit_mlp(x, y, v, vy)(t))


def test_what_is_not_there_is_not_found() -> None:
    (x, y), (v, vy), (t, ty) = data(500, 0), data(200, 1), data(400, 2)
    fitted = fit_ridge(x, y.roll(1, 0), v, vy.roll(1, 0))
    assert (r2_by_row(fitted(t), ty.roll(1, 0)).mean(0) < 0.02).all()


def test_refusals() -> None:
    with pytest.raises(InputError, match=r"needs predictions and truth \(N, C\), got \(3,\) and \(3, 1\)"):
        r2_by_row(torch.zeros(3), torch.zeros(3, 1))
    with pytest.raises(InputError, match="column 1 of the truth does not vary"):
        r2_by_row(torch.zeros(2, 2), torch.tensor([[0.0, 1.0], [1.0, 1.0]]))


@pytest.mark.usefixtures("narrow")
def test_a_feature_that_is_constant_in_training_does_not_blow_up() -> None:
    (x, y), (v, vy), (t, ty) = data(80, 0), data(100, 1), data(100, 2)
    for side in (x, v, t):
        side[:, 5] = 0.0
    t[0, 5] = 0.01
    for fit in (fit_ridge, fit_mlp):
        assert (r2_by_row(fit(x, y, v, vy)(t), ty).mean(0) > -1).all()

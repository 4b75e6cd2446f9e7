"""A figure among draws: ranks counted plainly, and the promised error rate."""

from __future__ import annotations

import numpy as np
import pytest

from metatc2.diagnostics import against_null
from metatc2.errors import InputError


@pytest.mark.parametrize("value", [-3.0, 0.1, 2.5])
def test_mean_spread_and_rank(value: float) -> None:
    draws = np.random.default_rng(0).normal(size=199)
    found = against_null(value, draws.tolist())
    assert found.null_mean == pytest.approx(draws.mean())
    assert found.null_std == pytest.approx(draws.std(ddof=1))
    assert found.z == pytest.approx((value - draws.mean()) / draws.std(ddof=1))
    assert found.quantile == pytest.approx((draws < value).mean())
    assert (found.null_low, found.null_high) == (np.sort(draws)[4], np.sort(draws)[-5])
    smaller = min((draws <= value).sum(), (draws >= value).sum())
    assert found.p == pytest.approx(min(1, 2 * (1 + smaller) / 200))
    assert found.outside is (found.p <= 0.05)


@pytest.mark.parametrize("draws", [39, 199])
def test_one_in_twenty_is_outside_when_there_is_nothing_to_find(draws: int) -> None:
    rng = np.random.default_rng(0)
    outside = [against_null(float(x[0]), x[1:].tolist()).outside for x in rng.exponential(size=(2000, draws + 1))]
    assert np.mean(outside) == pytest.approx(0.05, abs=0.015)


def test_equal_draws_have_no_z() -> None:
    inside, above = (against_null(value, [1.0] * 39) for value in (1.0, 2.0))
    assert (inside.z, inside.quantile, inside.p, inside.outside) == (None, 0.5, 1.0, False)
    assert (above.z, above.quantile, above.p, above.outside) == (None, 1.0, 0.05, True)


def test_too_few_draws_and_nan_are_refused() -> None:
    with pytest.raises(InputError, match="at least 39 draws, got 38"):
        against_null(0.0, [0.0] * 38)
    with pytest.raises(InputError, match="NaN or infinite"):
        against_null(float("nan"), range(39))

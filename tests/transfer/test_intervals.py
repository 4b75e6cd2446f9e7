"""Intervals against scipy's tests, and their coverage."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from metatc2.errors import InputError
from metatc2.transfer import mean_interval, paired_difference


def test_equals_scipy() -> None:
    g = torch.Generator().manual_seed(0)
    for n in (2, 3, 5, 600):
        a, b = torch.rand(2, n, generator=g, dtype=torch.float64)
        mean, half = mean_interval(a)
        expected = stats.ttest_1samp(a.numpy(), 0).confidence_interval(0.95)
        assert (mean - half, mean + half) == pytest.approx((expected.low, expected.high))
        mean, half = paired_difference(a, b)
        expected = stats.ttest_rel(a.numpy(), b.numpy()).confidence_interval(0.95)
        assert (mean - half, mean + half) == pytest.approx((expected.low, expected.high))


@pytest.mark.slow
def test_three_seeds_cover_as_often_as_promised(seed_offset: int) -> None:
    """With a normal quantile (1.96) it would be 80 %."""
    draws = torch.randn(4000, 3, generator=torch.Generator().manual_seed(seed_offset + 1), dtype=torch.float64)
    covered = sum(abs(mean) <= half for mean, half in map(mean_interval, draws.tolist())) / 4000
    assert covered == pytest.approx(0.95, abs=0.012)


def test_bad_input() -> None:
    with pytest.raises(InputError, match="at least 2"):
        mean_interval([0.5])
    with pytest.raises(InputError, match="same items"):
        paired_difference([0.1, 0.2], [0.1, 0.2, 0.3])

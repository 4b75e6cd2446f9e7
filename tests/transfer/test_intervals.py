"""Intervals against scipy's tests, and their coverage."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from metatc2.errors import InputError
from metatc2.metrics.intervals import stratified_half_width
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


def test_interval_of_strata_is_its_equation() -> None:
    """``t · √(Σ_c n_c s_c²) / n`` with a degree of freedom lost for each stratum; one of a single item adds no variance."""
    g = torch.Generator().manual_seed(0)
    strata = torch.tensor([4, 1, 1, 4, 2, 1, 4, 1])
    values = torch.rand(8, generator=g, dtype=torch.float64) + 5 * strata
    square = 4 * values[strata == 1].var() + 3 * values[strata == 4].var()
    for confidence in (0.95, 0.8):
        expected = stats.t.ppf((1 + confidence) / 2, 8 - 3) * float(square) ** 0.5 / 8
        assert stratified_half_width(values, strata, confidence=confidence) == pytest.approx(expected)


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

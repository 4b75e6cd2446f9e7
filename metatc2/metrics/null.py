"""A figure beside its noise null: what the same figure is where by construction there is nothing to find."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from metatc2.errors import InputError

# The fewest draws whose smallest and largest enclose 95 % (2.5 % of 40 is one).
FEWEST = 39


@dataclass(frozen=True)
class AgainstNull:
    """A figure and its null.

    Args:
        value: measured.
        null_mean, null_std: over the draws.
        null_low, null_high: 95 % of new draws lie between them, both included.
        z: ``(value − null_mean) / null_std``; None where the draws are all the same.
        quantile: share of draws below the value, those equal to it counted half.
        p: probability of a value as far out on either side under the null, at least 2 / (draws + 1).
        draws: how many.
    """

    value: float
    null_mean: float
    null_std: float
    null_low: float
    null_high: float
    z: float | None
    quantile: float
    p: float
    draws: int

    @property
    def outside(self) -> bool:
        """Whether the value is more, or less, than noise."""
        return not self.null_low <= self.value <= self.null_high


def against_null(value: float, null: Sequence[float]) -> AgainstNull:
    """Put a figure beside draws of the same figure under the null.

    The draws and the value are exchangeable under the null, so ranks give exact probabilities whatever the distribution
    (Phipson & Smyth 2010).

    Args:
        value: measured.
        null: draws, at least 39.

    Raises:
        InputError: if there are too few, or anything is not finite.

    >>> measured = against_null(50.0, range(39))
    >>> measured.outside, measured.p, measured.quantile, measured.null_low, measured.null_high
    (True, 0.05, 1.0, 0.0, 38.0)
    """
    draws = sorted(float(x) for x in null)
    n = len(draws)
    if n < FEWEST:
        raise InputError(
            f"noise null: a 95 % interval needs at least {FEWEST} draws, got {n}; raise the number of resplits"
        )
    if not all(math.isfinite(x) for x in (value, *draws)):
        raise InputError(
            "noise null: a figure is NaN or infinite; the features or the loss it comes from are not finite"
        )
    value = float(value)
    center = math.fsum(draws) / n
    std = math.sqrt(math.fsum((x - center) ** 2 for x in draws) / (n - 1))
    # Draws that differ by rounding alone are one value.
    same = std <= 1e-12 * max(abs(center), abs(value))
    below, above = sum(x < value for x in draws), sum(x > value for x in draws)
    equal = n - below - above
    edge = (n + 1) // 40
    return AgainstNull(
        value=value,
        null_mean=center,
        null_std=std,
        null_low=draws[edge - 1],
        null_high=draws[n - edge],
        z=None if same else (value - center) / std,
        quantile=(below + equal / 2) / n,
        p=min(1.0, 2 * (1 + equal + min(below, above)) / (n + 1)),
        draws=n,
    )

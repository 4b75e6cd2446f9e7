"""Collapse, complete and dimensional, of the features of a whole data set."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from metatc2.metrics.rank import collapsed, rank_summary
from metatc2.metrics.rows import BLOCK, checked, mean

# A dimension is dead when its standard deviation is below this share of the root mean square over dimensions.
DEAD = 0.01


@dataclass(frozen=True)
class Collapse:
    """How much room features take.

    Args:
        unit_std: standard deviation of rows at length one, averaged over dimensions; 0 is complete collapse.
        unit_std_healthy: 1/√d, which rows in all directions have.
        centered_rank: RankMe after the mean is subtracted, of at most 1 024 rows; a small share of d is dimensional collapse.
        dead: share of dimensions whose standard deviation is below 1 % of the root mean square over dimensions.
        std_min, std_median, std_max: of the standard deviations of the dimensions.
        sentence: what is wrong; None when nothing is.
    """

    unit_std: float
    unit_std_healthy: float
    centered_rank: float
    dead: float
    std_min: float
    std_median: float
    std_max: float
    sentence: str | None


def deviations(features: Tensor) -> Tensor:
    """Standard deviation (over N) of every dimension, float64 ``(d,)``.

    Args:
        features: ``(N, d)``.

    Raises:
        InputError: if there are fewer than 2 rows or one is not finite.

    >>> deviations(torch.tensor([[0.0, 5.0], [2.0, 5.0]])).tolist()
    [1.0, 0.0]
    """
    x = checked(features, "collapse")
    middle = mean(x)
    squares = [(part.double() - middle).square().sum(0) for part in x.split(BLOCK)]
    return (torch.stack(squares).sum(0) / len(x)).sqrt()


def collapse(features: Tensor) -> Collapse:
    """Complete and dimensional collapse, and dead dimensions.

    The sentence and its thresholds are those of the watch during training, `metatc2.objectives.collapsed`.

    Args:
        features: ``(N, d)``.

    Raises:
        InputError: see `deviations`.

    >>> measured = collapse(torch.cat([torch.eye(4), torch.zeros(4, 4)], 1))
    >>> measured.dead, measured.sentence
    (0.5, None)
    """
    std = deviations(features)
    typical = std.square().mean().sqrt()
    dead = std < DEAD * typical if bool(typical > 0) else torch.ones_like(std, dtype=torch.bool)
    summary = rank_summary(features)
    return Collapse(
        unit_std=summary["unit_std"],
        unit_std_healthy=features.shape[1] ** -0.5,
        centered_rank=summary["centered_rank"],
        dead=float(dead.double().mean()),
        std_min=float(std.min()),
        std_median=float(std.median()),
        std_max=float(std.max()),
        sentence=collapsed(features, summary=summary),
    )

"""Student intervals of a mean and of a paired difference."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from scipy import stats
from torch import Tensor

from metatc2.errors import InputError
from metatc2.ops.numbers import real


def mean_interval(values: Tensor | Sequence[float], *, confidence: float = 0.95) -> tuple[float, float]:
    """Mean and the half width of its Student interval, ``t · s / √n`` with n − 1 degrees of freedom.

    Args:
        values: ``(n,)`` independent measurements, n at least 2.
        confidence: probability that the interval covers the true mean.

    Raises:
        InputError: if there are fewer than two values, since one value says nothing about their variance.

    >>> mean, half = mean_interval([0.4, 0.5, 0.6])
    >>> round(mean, 3), round(half, 3)
    (0.5, 0.248)
    """
    x = torch.as_tensor(values, dtype=torch.float64)
    if x.ndim != 1 or len(x) < 2:
        raise InputError(
            f"interval: a 95 % interval needs at least 2 values, got shape {tuple(x.shape)}; "
            "use more episodes, images or seeds"
        )
    quantile = float(stats.t.ppf((1 + _confidence(confidence)) / 2, len(x) - 1))
    return float(x.mean()), quantile * float(x.std()) / len(x) ** 0.5


def paired_difference(
    a: Tensor | Sequence[float], b: Tensor | Sequence[float], *, confidence: float = 0.95
) -> tuple[float, float]:
    """Mean of ``a − b``, item by item, and the half width of its Student interval.

    Args:
        a: ``(n,)``.
        b: ``(n,)``, measured under the same conditions in the same order.
        confidence: see `mean_interval`.

    Raises:
        InputError: if the lengths differ or are below 2.

    >>> paired_difference([0.5, 0.7], [0.4, 0.6])[1] < 1e-12
    True
    """
    x, y = (torch.as_tensor(v, dtype=torch.float64) for v in (a, b))
    if x.shape != y.shape:
        raise InputError(
            f"paired difference: both sides need the same items, got shapes {tuple(x.shape)} and {tuple(y.shape)}"
        )
    return mean_interval(x - y, confidence=confidence)


def stratified_half_width(values: Tensor, strata: Tensor, *, confidence: float = 0.95) -> float:
    """Half width of the interval of a mean whose items were drawn stratum by stratum: ``t · √(Σ_c n_c s_c²) / n``.

    For a mean over classes of the accuracy in each, of items weighted as `metatc2.transfer.protocols` does, this is
    ``t · √(Σ_c s_c² / n_c) / C``: differences between classes do not count as variance.

    Args:
        values: ``(n,)``; their mean is the figure.
        strata: ``(n,)`` int64: class or domain of each; of strata of one item no variance is known, and none is added.
        confidence: see `mean_interval`.

    >>> stratified_half_width(torch.tensor([2.0, 2.0, 0.5, 0.5]), torch.tensor([0, 0, 1, 1]))
    0.0
    """
    x, n = values.double(), len(values)
    square, groups = 0.0, 0
    for stratum in torch.unique(strata):
        own = x[strata == stratum]
        groups += 1
        square += len(own) * float(own.var()) if len(own) > 1 else 0.0
    quantile = float(stats.t.ppf((1 + _confidence(confidence)) / 2, max(n - groups, 1)))
    return float(quantile * square**0.5 / n)


def _confidence(value: float) -> float:
    return real(value, "interval: confidence", above=0, below=1, fix="; 95 % is 0.95")

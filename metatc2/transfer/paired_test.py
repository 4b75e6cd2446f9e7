"""What may be said of paired differences: the t-test over seeds, Holm's correction, and the rule for a verdict."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from scipy import stats

# Seeds below which no method is called better (protocols: at least 3, 5 for a claim).
_SEEDS_FOR_A_VERDICT = 3
_LEVEL = 0.05


def paired_t_test(differences: Sequence[float]) -> tuple[float | None, float | None]:
    """Effect size d_z (mean over standard deviation) and p of the paired t-test; None where there is one difference.

    >>> paired_t_test([0.01, 0.01]), paired_t_test([0.01])
    ((inf, 0.0), (None, None))
    """
    if len(differences) < 2:
        return None, None
    mean, deviation = statistics.fmean(differences), statistics.stdev(differences)
    if deviation == 0:
        return (0.0, 1.0) if mean == 0 else (math.copysign(math.inf, mean), 0.0)
    effect = mean / deviation
    return effect, float(2 * stats.t.sf(abs(effect) * len(differences) ** 0.5, len(differences) - 1))


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values (Holm 1979): ``max over j ≤ i of min(1, (n − j + 1) p_(j))`` in ascending order.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p)), key=lambda i: p[i])
    adjusted, largest = [0.0] * len(p), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = largest
    return adjusted


def verdict(difference: float, p: float | None, seeds: int) -> str:
    """``"better"`` or ``"worse"`` only with 3 seeds or more and p below 0.05.

    >>> verdict(0.03, 0.01, 3), verdict(0.03, 0.01, 2), verdict(0.03, None, 1)
    ('better', 'not distinguishable', 'one seed: no verdict')
    """
    if p is None:
        return "one seed: no verdict"
    if seeds < _SEEDS_FOR_A_VERDICT or p >= _LEVEL:
        return "not distinguishable"
    return "better" if difference > 0 else "worse"

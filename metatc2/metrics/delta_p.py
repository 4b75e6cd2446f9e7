"""Δp: what learning tasks together gained or lost against learning each alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

from metatc2.errors import InputError
from metatc2.ops.numbers import reals


def delta_p(
    values: Sequence[float], single: Sequence[float], *, lower_is_better: bool | Sequence[bool] = False
) -> float:
    """Mean relative change against single-task baselines, in percent, above 0 where it is for the better.

    ``100/T Σ_i (−1)^{l_i} (M_i − B_i) / B_i`` with l_i = 1 where lower is better (Maninis et al., CVPR 2019, arXiv
    1904.08918, their Δm; Vandenhende et al., arXiv 2004.13379).

    Args:
        values: M_i, measure of task i under the method in question; finite.
        single: B_i, the same measure of a model for task i alone; above 0, since a change is taken relative to it.
        lower_is_better: of all measures, or one a task (errors, losses).

    Raises:
        InputError: if lengths differ, there is no task, a number is not finite, or a baseline is not above 0.

    >>> round(delta_p([0.55, 1.8], [0.5, 2.0], lower_is_better=[False, True]), 6)    # both are 10 % better
    10.0
    """
    measured, baseline = reals(values, "delta p: values"), reals(single, "delta p: single")
    lower = [lower_is_better] * len(measured) if isinstance(lower_is_better, bool) else list(lower_is_better)
    if not len(measured) == len(baseline) == len(lower):
        raise InputError(
            f"delta p: needs one value, one baseline and one sign a task, got {len(measured)} values, {len(baseline)} in "
            f"single and {len(lower)} in lower_is_better; give them in the same order of tasks"
        )
    for i, base in enumerate(baseline):
        if not base > 0:
            raise InputError(
                f"delta p: single must be above 0, got {base:g} for task {i}: a change has no size relative to it; take a "
                "measure that is positive, or leave the task out"
            )
    changes = [
        (-1 if low else 1) * (value - base) / base for value, base, low in zip(measured, baseline, lower, strict=True)
    ]
    return 100 * math.fsum(changes) / len(changes)

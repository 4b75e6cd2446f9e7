"""Δp restated in numpy, and what has no relative change."""

from __future__ import annotations

import numpy as np
import pytest

from metatc2.diagnostics import delta_p
from metatc2.errors import InputError


def test_the_formula_restated() -> None:
    values, single, lower = np.array([0.6, 0.3, 12.0]), np.array([0.5, 0.4, 10.0]), np.array([0, 0, 1])
    expected = 100 * np.mean((-1.0) ** lower * (values - single) / single)
    assert delta_p(list(values), list(single), lower_is_better=[False, False, True]) == pytest.approx(expected)
    assert delta_p(list(single), list(single)) == 0
    assert delta_p([1.0], [2.0], lower_is_better=True) == 50
    assert delta_p([1.0], [2.0]) == -50


def test_what_has_no_relative_change_is_refused() -> None:
    with pytest.raises(InputError, match="single must be above 0, got 0 for task 1"):
        delta_p([1.0, 1.0], [1.0, 0.0])
    with pytest.raises(InputError, match="single must be above 0, got -0.5 for task 0"):
        delta_p([1.0], [-0.5])
    with pytest.raises(InputError, match="got 2 values, 1 in single and 2 in lower_is_better"):
        delta_p([1.0, 2.0], [1.0])
    with pytest.raises(InputError, match="got 1 values, 1 in single and 2 in lower_is_better"):
        delta_p([1.0], [1.0], lower_is_better=[True, False])
    with pytest.raises(InputError, match="at least one number"):
        delta_p([], [])
    with pytest.raises(InputError, match="must be a finite number"):
        delta_p([float("nan")], [1.0])

"""Small grids for protocols that choose among many values."""

from __future__ import annotations

import pytest

from metatc2.transfer.protocols.corruption import corruption_robustness
from metatc2.transfer.protocols.fine_tune import fine_tune
from metatc2.transfer.protocols.linear import L2_GRID, linear
from metatc2.transfer.protocols.semi_supervised import semi_supervised_linear
from metatc2.transfer.protocols.semi_supervised_fine_tune import semi_supervised_fine_tune


@pytest.fixture
def small_grids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing else is asked for, 5 values of l2 from end to end, not 45, 4 pairs of rate and decay, not 20, and 2 severities."""
    monkeypatch.setitem(linear.__kwdefaults__, "grid", L2_GRID[::11])
    monkeypatch.setitem(semi_supervised_linear.__kwdefaults__, "l2", L2_GRID[::11])
    for function in (fine_tune, semi_supervised_fine_tune):
        defaults = function.__kwdefaults__
        monkeypatch.setitem(defaults, "rates", defaults["rates"][::3])
        monkeypatch.setitem(defaults, "weight_decays", defaults["weight_decays"][::4])
    monkeypatch.setitem(corruption_robustness.__kwdefaults__, "severities", (1, 5))

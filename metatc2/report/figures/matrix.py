"""Every source on every target: a heat map with its numbers."""

from __future__ import annotations

from collections.abc import Sequence

from metatc2.report.figures.base import Drawn
from metatc2.report.figures.heat_map import Grid, heat_maps, numbers


def matrix(grids: Sequence[Grid]) -> Drawn:
    """Draw a grid a protocol, on one scale.

    Args:
        grids: at least one, with a number somewhere.

    >>> import numpy as np
    >>> drawn = matrix([Grid("5-way 1-shot", ["raw pixels"], ["greek", "digits"], np.array([[0.5, np.nan]]))])
    >>> drawn.rows
    [('5-way 1-shot', 'raw pixels', 'greek', 0.5)]
    """
    figure, low, high = heat_maps(grids)
    rows = numbers(grids)
    best = max(rows, key=lambda row: row[3])
    return Drawn(
        name="transfer-matrix",
        caption="Result in % from every source (rows) to every target (columns), mean over seeds. The rows of random "
        "encoder and raw pixels are the controls.",
        alt=f"Heat map of results, {len(grids[0].sources)} sources by {max(len(grid.targets) for grid in grids)} targets, "
        f"from {100 * low:.1f} to {100 * high:.1f} %; the highest is {best[1]} on {best[2]}, {best[0]}. The numbers are in "
        "the table below.",
        figure=figure,
        columns=("protocol", "source", "target", "mean"),
        rows=rows,
    )

"""Tables of shares as heat maps with their numbers, one below the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from metatc2.report.figures.base import FONT, plain, shorten


@dataclass(frozen=True, eq=False)
class Grid:
    """One table.

    Args:
        title: what it shows, in words.
        sources: names of the rows; a line break makes two lines of one.
        targets: names of the columns.
        accuracy: ``(sources, targets)`` in [0, 1]; NaN where nothing was measured.
    """

    title: str
    sources: Sequence[str]
    targets: Sequence[str]
    accuracy: NDArray[Any]


def heat_maps(grids: Sequence[Grid]) -> tuple[Figure, float, float]:
    """Draw them on one scale, in percent.

    Args:
        grids: at least one, with a number somewhere.

    Returns:
        The figure, and the lowest and the highest number in it.

    >>> heat_maps([Grid("5-way 1-shot", ["raw pixels"], ["greek"], np.array([[0.5]]))])[1:]
    (0.5, 0.5)
    """
    values = np.concatenate([grid.accuracy.flatten() for grid in grids])
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    columns = max(len(grid.targets) for grid in grids)
    longest = max(len(line) for grid in grids for source in grid.sources for line in source.splitlines())
    heights = [0.38 * len(grid.sources) + 0.9 for grid in grids]
    width = max(4.0, 0.085 * min(longest, 40) + 0.95 * columns + 1.2)
    figure = Figure(figsize=(width, sum(heights)))
    figure.set_layout_engine("constrained", h_pad=0.1)
    axes = figure.subplots(len(grids), 1, squeeze=False, height_ratios=heights).flatten()
    for axis, grid in zip(axes, grids, strict=True):
        image = axis.imshow(100 * grid.accuracy, aspect="auto", cmap="cividis", vmin=100 * low, vmax=100 * high)
        axis.set_yticks(range(len(grid.sources)), [plain(_label(s)) for s in grid.sources], fontsize=FONT)
        axis.set_xticks(range(len(grid.targets)), [plain(shorten(t, 20)) for t in grid.targets], fontsize=FONT)
        if max(map(len, grid.targets)) > 13:
            axis.tick_params(axis="x", rotation=20)
        axis.set_title(plain(grid.title), fontsize=FONT + 1, loc="left")
        for (i, j), value in np.ndenumerate(grid.accuracy):
            dark = value < (low + high) / 2
            text, color = ("–", "black") if np.isnan(value) else (f"{100 * value:.1f}", "white" if dark else "black")
            axis.text(j, i, text, ha="center", va="center", fontsize=FONT, color=color)
        figure.colorbar(image, ax=axis, shrink=0.9).ax.tick_params(labelsize=FONT - 1)
    return figure, low, high


def numbers(grids: Sequence[Grid]) -> list[tuple[str | float, ...]]:
    """Title, row, column and value of every cell that was measured.

    >>> numbers([Grid("5-way 1-shot", ["raw pixels"], ["greek", "digits"], np.array([[0.5, np.nan]]))])
    [('5-way 1-shot', 'raw pixels', 'greek', 0.5)]
    """
    return [
        (grid.title, source.replace("\n", ", "), target, float(grid.accuracy[i, j]))
        for grid in grids
        for i, source in enumerate(grid.sources)
        for j, target in enumerate(grid.targets)
        if not np.isnan(grid.accuracy[i, j])
    ]


def _label(source: str) -> str:
    return "\n".join(shorten(line, 40) for line in source.splitlines())

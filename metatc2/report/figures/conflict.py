"""Task conflict beside its noise null."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from metatc2.report.figures.base import FONT, PALETTE, Drawn, plain, shorten


@dataclass(frozen=True)
class ConflictMeasure:
    """One measure of one run, with what random re-splits of the same batch give.

    Args:
        run: whose.
        name: of the measure.
        value: measured.
        null_mean: mean over re-splits.
        null_low, null_high: the interval that re-splits fall into.
    """

    run: str
    name: str
    value: float
    null_mean: float
    null_low: float
    null_high: float

    @property
    def outside(self) -> bool:
        """Whether it is more, or less, than noise."""
        return not self.null_low <= self.value <= self.null_high


def conflict(measures: Sequence[ConflictMeasure]) -> Drawn:
    """Draw a panel a measure, a line a run.

    Args:
        measures: at least one.

    >>> conflict([ConflictMeasure("a", "C", 0.5, 0.1, 0.0, 0.2)]).rows
    [('a', 'C', 0.5, 0.1, 0.0, 0.2, 'outside')]
    """
    names = list(dict.fromkeys(m.name for m in measures))
    groups = [[m for m in measures if m.name == name] for name in names]
    heights = [0.28 * len(group) + 0.75 for group in groups]
    figure = Figure(figsize=(7.4, sum(heights) + 0.35), layout="constrained")
    axes = figure.subplots(len(groups), 1, squeeze=False, height_ratios=heights).flatten()
    for axis, name, group in zip(axes, names, groups, strict=True):
        for place, m in zip(range(len(group), 0, -1), group, strict=True):
            axis.plot([m.null_low, m.null_high], [place, place], color="#b0b0b0", linewidth=8, solid_capstyle="butt")
            axis.plot([m.null_mean], [place], "|", color="black", markersize=9)
            fill = PALETTE[1] if m.outside else "white"
            axis.plot([m.value], [place], "D", color=PALETTE[1], markerfacecolor=fill, markersize=6)
        axis.set_yticks(range(len(group), 0, -1), [plain(shorten(m.run, 40)) for m in group], fontsize=FONT)
        axis.set_ylim(0.4, len(group) + 0.6)
        axis.set_title(plain(shorten(name, 80)), fontsize=FONT + 1, loc="left")
        axis.tick_params(axis="x", labelsize=FONT - 1)
        axis.grid(axis="x", alpha=0.3, linewidth=0.4)
    outside = sum(m.outside for m in measures)
    described = "; ".join(
        f"{m.run}, {m.name}: {m.value:.3g}, null {m.null_low:.3g} to {m.null_high:.3g}" for m in measures[:6]
    )
    return Drawn(
        name="task-conflict",
        caption="Task conflict (diamond) beside its noise null: the gray bar holds what random re-splits of the same batch "
        "give, its tick their mean. Filled: outside the null; hollow: no more than noise.",
        alt=f"Measures of task conflict beside their noise null; {outside} of {len(measures)} lie outside it. {described}.",
        figure=figure,
        columns=("run", "measure", "value", "null mean", "null low", "null high", "against the null"),
        rows=[
            (m.run, m.name, m.value, m.null_mean, m.null_low, m.null_high, "outside" if m.outside else "inside")
            for m in measures
        ],
    )


def is_finite(measure: ConflictMeasure) -> bool:
    """Whether all of it can be drawn."""
    return all(math.isfinite(x) for x in (measure.value, measure.null_mean, measure.null_low, measure.null_high))

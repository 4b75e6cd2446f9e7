"""What was measured of encoders while they were trained: a panel a measure, a line a method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from metatc2.report.figures.base import FONT, PALETTE, Drawn, in_legend, plain, shorten

_COLUMNS = 4
_LINES = ("-", "--", ":", "-.")
#: Label of the axis, and what values are multiplied by; a measure of one's own has its name and its values as they are.
_LABELS = {"knn": ("k-NN accuracy, %", 100), "linear": ("linear probe accuracy, %", 100)}
_LABELS |= {"rankme": ("RankMe", 1), "lidar": ("LiDAR", 1)}


@dataclass(frozen=True)
class MeasuredCurve:
    """One measure of one method.

    Args:
        method: its name.
        measure: such as ``"knn"``.
        steps: at which all its seeds were measured.
        values: ``(seeds, steps)``, accuracies in [0, 1].
    """

    method: str
    measure: str
    steps: Sequence[int]
    values: NDArray[np.float64]


def online_measures(curves: Sequence[MeasuredCurve]) -> Drawn:
    """Draw mean and range over seeds.

    Args:
        curves: at least one, each of at least one step.

    >>> drawn = online_measures([MeasuredCurve("plain", "knn", [1, 2], np.array([[0.25, 0.5], [0.75, 1.0]]))])
    >>> drawn.columns, drawn.rows[0]
    (('measure', 'method', 'step', 'mean', 'lowest', 'highest', 'seeds'), ('knn', 'plain', 1, 0.5, 0.25, 0.75, 2))
    """
    measures = list(dict.fromkeys(curve.measure for curve in curves))
    methods = list(dict.fromkeys(curve.method for curve in curves))
    columns = min(_COLUMNS, len(measures))
    lines = -(-len(measures) // columns)
    figure = Figure(figsize=(max(4.6, 2.9 * columns), 2.6 * lines + 0.3), layout="constrained")
    axes = dict(zip(measures, figure.subplots(lines, columns, squeeze=False).flatten(), strict=False))
    for axis in figure.axes[len(measures) :]:
        axis.set_axis_off()
    styles: dict[str, dict[str, Any]] = {
        method: {
            "color": PALETTE[i % len(PALETTE)],
            "linestyle": _LINES[i // len(PALETTE) % len(_LINES)],
            "marker": ".",
        }
        for i, method in enumerate(methods)
    }
    for measure, axis in axes.items():
        axis.set_xlabel("step", fontsize=FONT)
        axis.set_ylabel(plain(shorten(_label(measure), 30)), fontsize=FONT)
        axis.tick_params(labelsize=FONT - 1)
        axis.grid(alpha=0.3, linewidth=0.4)
    for curve in curves:
        scaled = curve.values * _LABELS.get(curve.measure, ("", 1))[1]
        axis = axes[curve.measure]
        style = styles[curve.method]
        axis.plot(curve.steps, scaled.mean(0), linewidth=1.4, **style)
        axis.fill_between(curve.steps, scaled.min(0), scaled.max(0), color=style["color"], alpha=0.2, linewidth=0)
    handles = [Line2D([], [], label=in_legend(shorten(method, 44)), **style) for method, style in styles.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=FONT - 1, frameon=False)
    ends = "; ".join(f"{c.method}, {c.measure}: {c.values[:, -1].mean():.3g} at step {c.steps[-1]}" for c in curves)
    return Drawn(
        name="online-measures",
        caption="Measured along the way, on images that the monitor chose. Line: mean over seeds; band: from the lowest to "
        "the highest seed. These watch a training; what an encoder is worth stands under its transfer.",
        alt=f"Line charts over training steps, a chart a measure and a line a method. {ends}.",
        figure=figure,
        columns=("measure", "method", "step", "mean", "lowest", "highest", "seeds"),
        rows=[
            (c.measure, c.method, step, float(at.mean()), float(at.min()), float(at.max()), len(at))
            for c in curves
            for step, at in zip(c.steps, c.values.T, strict=True)
        ],
    )


def _label(measure: str) -> str:
    return _LABELS.get(measure, (measure, 1))[0]

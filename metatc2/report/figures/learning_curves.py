"""Loss over the steps: a panel a method, its seeds as a band."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from metatc2.report.figures.base import FONT, PALETTE, Drawn, plain, shorten
from metatc2.report.figures.demo import MethodCurve

_COLUMNS = 3


def learning_curves(curves: Sequence[MethodCurve]) -> Drawn:
    """Draw mean and range over seeds.

    A panel of its own for each, since losses of different methods have different scales.

    Args:
        curves: at least one, each of at least one point.

    >>> drawn = learning_curves([MethodCurve("plain", [1, 2], np.array([[3.0, 2.0], [5.0, 2.0]]))])
    >>> drawn.columns, drawn.rows[0]
    (('method', 'step', 'loss, mean', 'loss, lowest', 'loss, highest', 'seeds'), ('plain', 1, 4.0, 3.0, 5.0, 2))
    """
    columns = min(_COLUMNS, len(curves))
    lines = -(-len(curves) // columns)
    figure = Figure(figsize=(max(4.2, 3.2 * columns), 2.6 * lines + 0.1), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False).flatten()
    rows: list[tuple[str | int | float, ...]] = []
    described = []
    for axis, curve in zip(axes, curves, strict=False):
        mean, low, high = curve.losses.mean(0), curve.losses.min(0), curve.losses.max(0)
        seeds = len(curve.losses)
        axis.plot(curve.steps, mean, color=PALETTE[2], linewidth=1.5, marker="." if len(mean) == 1 else None)
        axis.fill_between(curve.steps, low, high, color=PALETTE[2], alpha=0.25, linewidth=0)
        axis.set_title(plain(shorten(curve.name, 44)), fontsize=FONT)
        axis.set_xlabel("step", fontsize=FONT)
        axis.set_ylabel("loss", fontsize=FONT)
        axis.tick_params(labelsize=FONT - 1)
        axis.grid(alpha=0.3, linewidth=0.4)
        described.append(
            f"{curve.name}, {seeds} seed{'s' * (seeds > 1)}: {mean[0]:.3g} at step {curve.steps[0]:g}, "
            f"{mean[-1]:.3g} at step {curve.steps[-1]:g}"
        )
        for i, step in enumerate(curve.steps):
            rows.append((curve.name, step, float(mean[i]), float(low[i]), float(high[i]), seeds))
    for axis in axes[len(curves) :]:
        axis.set_axis_off()
    return Drawn(
        name="learning-curves",
        caption="Training loss. Line: mean over seeds; band: from the lowest to the highest seed. Each method has a scale "
        "of its own: compare shapes, not levels.",
        alt=f"Line charts of training loss over steps. {'; '.join(described)}.",
        figure=figure,
        columns=("method", "step", "loss, mean", "loss, lowest", "loss, highest", "seeds"),
        rows=rows,
    )


def thinned(curve: MethodCurve, points: int = 200) -> MethodCurve:
    """The same curve in at most `points` points: neighboring ones are averaged.

    >>> thin = thinned(MethodCurve("m", list(range(6)), np.arange(6.0)[None]), 3)
    >>> list(thin.steps), thin.losses.tolist()
    ([0.5, 2.5, 4.5], [[0.5, 2.5, 4.5]])
    """
    if len(curve.steps) <= points:
        return curve
    parts = np.array_split(np.arange(len(curve.steps)), points)
    steps = [float(np.mean([curve.steps[i] for i in part])) for part in parts]
    return MethodCurve(curve.name, steps, np.stack([curve.losses[:, part].mean(1) for part in parts], axis=1))

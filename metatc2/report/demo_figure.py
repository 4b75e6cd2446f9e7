"""The one picture of the demo: what goes in, how training went, what came out, which factors were used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

# Colours that stay apart in grey print and for colour-blind readers (Okabe and Ito).
COLOURS = ("#7f7f7f", "#e69f00", "#0072b2", "#009e73", "#cc79a7", "#56b4e9")


@dataclass(frozen=True)
class MethodCurve:
    """Loss over the steps of one method, seeds one below the other.

    Args:
        name: as it stands in the legend.
        steps: ``(points,)``.
        losses: ``(seeds, points)``.
    """

    name: str
    steps: Sequence[float]
    losses: NDArray[Any]


def demo_figure(
    path: Path,
    *,
    views: Mapping[str, tuple[Tensor, Tensor]],
    bars: Mapping[str, Mapping[str, tuple[float, float]]],
    styles: Mapping[str, Mapping[str, str]],
    curves: Mapping[str, Sequence[MethodCurve]],
    usage: Tensor,
    headline: str,
    shot: int,
) -> None:
    """Draw and save it.

    Args:
        path: where to save; the ending names the format.
        views: by script: images ``(n, 28, 28)`` and two views of each ``(n, 2, 28, 28)``, in [0, 1].
        bars: by target, by method: mean accuracy and its half interval, in [0, 1].
        styles: by method: what matplotlib draws its bars with, e.g. ``{"color": "#0072b2", "hatch": "//"}``.
        curves: by objective: one curve a method.
        usage: mean |W| of each factor by script ``(scripts, K)``; scripts in the order of `views`.
        headline: one sentence that says what was found.
        shot: labelled images a class of the episodes that the bars show.
    """
    figure = Figure(figsize=(13, 9.2), layout="constrained")
    figure.suptitle(headline, fontsize=12, wrap=True)
    panels: Any = figure.subfigures(2, 1, height_ratios=(1.0, 1.12))
    top, bottom = panels
    left, right = top.subfigures(1, 2, width_ratios=(1.0, 1.25))
    _draw_views(left, views)
    _draw_curves(right, curves)
    low_left, low_right = bottom.subfigures(1, 2, width_ratios=(1.65, 1.0))
    _draw_bars(low_left, bars, styles, shot)
    _draw_usage(low_right, list(views), usage)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _draw_views(figure: Any, views: Mapping[str, tuple[Tensor, Tensor]]) -> None:
    figure.suptitle("What goes in: a glyph and two random views of it", fontsize=10)
    columns = next(iter(views.values()))[0].shape[0]
    axes = figure.subplots(len(views), 1)
    for axis, (script, (images, pairs)) in zip(np.atleast_1d(axes), views.items(), strict=True):
        gap = np.full((images.shape[1], 6), 0.5)
        strip = []
        for i in range(columns):
            strip += [images[i].numpy(), pairs[i, 0].numpy(), pairs[i, 1].numpy(), gap]
        axis.imshow(np.concatenate(strip[:-1], axis=1), cmap="gray", vmin=0, vmax=1, aspect="equal")
        axis.set_ylabel(script, rotation=0, ha="right", va="center", fontsize=9)
        axis.set_xticks([])
        axis.set_yticks([])


def _draw_curves(figure: Any, curves: Mapping[str, Sequence[MethodCurve]]) -> None:
    figure.suptitle(
        "How training went: loss on Latin (band: range over seeds).\nTC²'s is within smaller tasks: compare shapes, not levels",
        fontsize=10,
    )
    axes = np.atleast_1d(figure.subplots(1, len(curves)))
    for axis, (objective, methods) in zip(axes, curves.items(), strict=True):
        for colour, curve in zip(COLOURS, methods, strict=False):
            axis.plot(curve.steps, curve.losses.mean(0), color=colour, label=curve.name, linewidth=1.5)
            axis.fill_between(
                curve.steps, curve.losses.min(0), curve.losses.max(0), color=colour, alpha=0.2, linewidth=0
            )
        axis.set_title(objective, fontsize=9)
        axis.set_xlabel("step", fontsize=8)
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.3, linewidth=0.4)
        axis.legend(fontsize=7)


def _draw_bars(
    figure: Any,
    bars: Mapping[str, Mapping[str, tuple[float, float]]],
    styles: Mapping[str, Mapping[str, str]],
    shot: int,
) -> None:
    figure.suptitle(
        f"What came out: {shot}-shot accuracy on scripts never seen (bars: mean; lines: 95 % interval over seeds)",
        fontsize=10,
    )
    axis = figure.subplots()
    methods = list(next(iter(bars.values())))
    width = 0.84 / len(methods)
    for m, method in enumerate(methods):
        places = np.arange(len(bars)) + (m - (len(methods) - 1) / 2) * width
        means = [100 * bars[target][method][0] for target in bars]
        halves = [100 * bars[target][method][1] for target in bars]
        axis.bar(places, means, width * 0.94, label=method, **styles[method])
        axis.errorbar(places, means, yerr=halves, fmt="none", ecolor="black", elinewidth=0.8, capsize=1.5)
    axis.set_xticks(range(len(bars)), list(bars), fontsize=9)
    axis.set_ylabel("accuracy, %", fontsize=8)
    axis.set_ylim(0, 100)
    axis.tick_params(axis="y", labelsize=7)
    axis.grid(axis="y", alpha=0.3, linewidth=0.4)
    axis.legend(fontsize=7, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.08), frameon=False)


def _draw_usage(figure: Any, scripts: Sequence[str], usage: Tensor) -> None:
    figure.suptitle("Which shared factors each script uses (mean |weight|)", fontsize=10)
    axis = figure.subplots()
    image = axis.imshow(usage.numpy(), aspect="auto", cmap="viridis", vmin=0)
    axis.set_yticks(range(len(scripts)), scripts, fontsize=8)
    axis.set_xlabel("factor", fontsize=8)
    axis.tick_params(axis="x", labelsize=7)
    figure.colorbar(image, ax=axis, shrink=0.8).ax.tick_params(labelsize=7)

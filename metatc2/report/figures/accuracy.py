"""What was measured on each target, with its interval: a line a method and control."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from metatc2.report.figures.base import FONT, PALETTE, Drawn, in_legend, plain, shorten


@dataclass(frozen=True)
class Point:
    """One figure of the chart.

    Args:
        target: what was tested on, or the mean over targets.
        name: method or control.
        control: whether it is a control.
        mean, ci95: as fractions.
        over: what the interval is over.
        seeds: behind the mean.
    """

    target: str
    name: str
    control: bool
    mean: float
    ci95: float
    over: str
    seeds: int


def accuracy(points: Sequence[Point], measured: str, chance: float | None = None) -> Drawn:
    """Draw points with their intervals: a group a target, in the order in which they come.

    Args:
        points: at least one.
        measured: in which way, e.g. ``"5-way 1-shot, cosine"``.
        chance: result of guessing, where it is the same on every target.

    >>> drawn = accuracy([Point("greek", "tc2", False, 0.5, 0.02, "seeds", 3)], "5-way 1-shot", 0.2)
    >>> drawn.rows
    [('greek', '5-way 1-shot', 'tc2', 0.5, 0.02, 'seeds', 3)]
    """
    targets = list(dict.fromkeys(p.target for p in points))
    names = list(dict.fromkeys(p.name for p in points))
    colors = _colors(points)
    step = 1 / (len(names) + 1)
    height = max(0.2 * (len(names) + 1), 0.45) * len(targets)
    figure = Figure(figsize=(6.6, height + 0.75 + 0.2 * len(names)))
    figure.set_layout_engine("constrained")
    axis = figure.subplots()
    for i, name in enumerate(names):
        own = [p for p in points if p.name == name]
        places = [-targets.index(p.target) - (i - (len(names) - 1) / 2) * step for p in own]
        axis.errorbar(
            [100 * p.mean for p in own],
            places,
            xerr=[100 * p.ci95 for p in own],
            fmt="s" if own[0].control else "o",
            color=colors[name],
            markerfacecolor="white" if own[0].control else colors[name],
            markersize=5.5,
            capsize=2.5,
            linewidth=1.3,
            label=in_legend(shorten(name, 60)),
        )
    for i in range(1, len(targets)):
        axis.axhline(0.5 - i, color="#d6d6d6", linewidth=0.6)
    if chance is not None:
        axis.axvline(100 * chance, color="#555555", linewidth=1, linestyle=":", label="chance")
    axis.set_yticks([-i for i in range(len(targets))], [plain(shorten(t, 28)) for t in targets], fontsize=FONT)
    axis.set_ylim(0.5 - len(targets), 0.5)
    axis.tick_params(axis="x", labelsize=FONT)
    axis.set_xlabel(plain(f"{measured}, %"), fontsize=FONT)
    axis.grid(axis="x", alpha=0.3, linewidth=0.4)
    figure.legend(loc="outside lower left", fontsize=FONT, frameon=False)
    over = " or ".join(dict.fromkeys(p.over for p in points))
    described = [f"{p.target}, {p.name}: {100 * p.mean:.1f} ± {100 * p.ci95:.1f}" for p in points]
    more = f"; and {len(described) - 8} more in the table below" if len(described) > 8 else ""
    return Drawn(
        name="accuracy",
        caption=f"{measured}, in %, with 95 % intervals over {over}. Hollow squares: controls, which were not trained."
        + (" Dotted: chance." if chance is not None else ""),
        alt=f"Dot plot of results in % on each target ({measured}) with 95 % intervals over {over}. "
        f"{'; '.join(described[:8])}{more}.",
        figure=figure,
        columns=("target", "protocol", "features", "mean", "ci95", "interval over", "seeds"),
        rows=[(p.target, measured, p.name, p.mean, p.ci95, p.over, p.seeds) for p in points],
    )


def _colors(points: Sequence[Point]) -> dict[str, str]:
    """Controls are gray, methods have the colors of the other figures."""
    trained = dict.fromkeys(p.name for p in points if not p.control)
    colors = {name: PALETTE[1 + i % (len(PALETTE) - 2)] for i, name in enumerate(trained)}
    return colors | {p.name: "#7f7f7f" if "pixels" in p.name else "#000000" for p in points if p.control}

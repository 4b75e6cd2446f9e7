"""Accuracy over labels a class: a line an arm."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from metatc2.experiment.advice.arms import Kind
from metatc2.experiment.advice.rule import AdviceRow
from metatc2.report.figures.base import FONT, PALETTE, Drawn, plain, shorten

_COLUMNS = ("arm", "labels a class", "accuracy", "ci95", "accuracy on validation", "over raw pixels", "its ci95")
_MARKS = "osD^vP*X"
_GRAY = "#7f7f7f"


def few_labels(rows: Sequence[AdviceRow], *, chance: float) -> Drawn:
    """Draw accuracy on test images by number of labels, controls dashed.

    Args:
        rows: of advice, at least one.
        chance: accuracy of guessing, in [0, 1].
    """
    arms = list(dict.fromkeys(row.arm for row in rows))
    counts = list(dict.fromkeys(row.labels_per_class for row in rows))
    figure = Figure(figsize=(6.8, 3.6), layout="constrained")
    axis = figure.subplots()
    axis.axhline(100 * chance, color="#999999", linewidth=0.8, linestyle=":")
    axis.annotate(
        "guessing", (1, 100 * chance), xycoords=("axes fraction", "data"), fontsize=FONT - 2, ha="right", va="bottom"
    )
    colors = iter(PALETTE[1:])
    for i, arm in enumerate(arms):
        own = [row for row in rows if row.arm == arm]
        control = own[0].kind == Kind.CONTROL.value
        # A little apart, so that intervals can be told from each other on an axis where every step is a factor.
        apart = 1.0 + 0.025 * (i - (len(arms) - 1) / 2)
        axis.errorbar(
            [row.labels_per_class * apart for row in own],
            [100 * row.accuracy for row in own],
            yerr=[100 * row.ci95 for row in own],
            label=plain(shorten(arm, 40)),
            color=_GRAY if control else next(colors, _GRAY),
            linestyle="--" if control else "-",
            marker=_MARKS[i % len(_MARKS)],
            markersize=4.5,
            capsize=2,
            linewidth=1.2,
        )
    axis.set_xscale("log")
    axis.set_xticks(counts, [str(count) for count in counts])
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xlabel("labels a class", fontsize=FONT)
    axis.set_ylabel("accuracy on test images, %", fontsize=FONT)
    axis.tick_params(labelsize=FONT - 1)
    axis.grid(alpha=0.3, linewidth=0.4)
    figure.legend(loc="outside right upper", fontsize=FONT - 1, frameon=False)
    described = "; ".join(
        f"{row.arm}, {row.labels_per_class}: {100 * row.accuracy:.1f} ± {100 * row.ci95:.1f}" for row in rows
    )
    return Drawn(
        name="few-labels",
        caption="Accuracy on images that no training saw, by labels a class, with 95 % intervals over seeds and test images. "
        "Dashed gray: controls. All arms share the labels: paired differences, with intervals of their own, are in the table.",
        alt=f"Line chart of accuracy in % over labels a class, a line an arm. {described}.",
        figure=figure,
        columns=_COLUMNS,
        rows=[
            (
                row.arm,
                row.labels_per_class,
                row.accuracy,
                row.ci95,
                row.validation,
                row.over_pixels,
                row.over_pixels_ci95,
            )
            for row in rows
        ],
    )

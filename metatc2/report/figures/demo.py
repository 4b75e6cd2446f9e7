"""The one picture of the demo: what goes in, how training went, what came out, which factors tasks keep."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from metatc2.diagnostics import TaskChoices
from metatc2.io.files import write_atomically

# Colors that stay apart in gray print and for color-blind readers (Okabe and Ito).
COLORS = ("#7f7f7f", "#e69f00", "#0072b2", "#009e73", "#cc79a7", "#56b4e9")

_TITLE: dict[str, Any] = {"fontsize": 10, "x": 0.015, "ha": "left", "fontweight": "bold"}
_ABOUT: dict[str, Any] = {"fontsize": 8.5, "loc": "left"}


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
    pairs: Mapping[str, Tensor],
    curves: Sequence[MethodCurve],
    accuracies: Mapping[str, Mapping[str, tuple[float, float]]],
    colors: Mapping[str, str],
    choices: TaskChoices,
    headline: str,
    setting: str,
    chance: float,
) -> None:
    """Draw and save it.

    Args:
        path: where to save; the ending names the format.
        pairs: by what a kind of task shares: positive pairs ``(n, 2, 3, H, W)`` in [0, 1].
        curves: one a method.
        accuracies: by method, by target: mean accuracy and its half interval, in [0, 1].
        colors: of the bars, by method.
        choices: weights of fresh tasks; columns are ordered on every other episode and the rest is drawn.
        headline: what was found, a line a sentence.
        setting: of the episodes that the bars show, e.g. ``"5-way 5-shot"``.
        chance: accuracy of guessing, in [0, 1].
    """
    figure = Figure(figsize=(13.5, 10), layout="constrained")
    figure.suptitle(headline, fontsize=10.5, x=0.012, ha="left", wrap=True)
    panels: Any = figure.subfigures(2, 1, height_ratios=(1.0, 1.05), hspace=0.03)
    top, bottom = panels
    left, right = top.subfigures(1, 2, width_ratios=(1.45, 1.0))
    _draw_pairs(left, pairs)
    _draw_curves(right, curves)
    low_left, low_right = bottom.subfigures(1, 2, width_ratios=(1.45, 1.0))
    _draw_bars(low_left, accuracies, colors, setting, chance)
    _draw_choices(low_right, choices)
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=110, format=path.suffix[1:] or None)
    write_atomically(path, drawn.getvalue())


def _draw_pairs(figure: Any, pairs: Mapping[str, Tensor]) -> None:
    figure.suptitle("1  What goes in: pairs of images, by what the pairs of a task share", **_TITLE)
    axes = np.atleast_1d(figure.subplots(len(pairs), 1))
    for axis, (shared, images) in zip(axes, pairs.items(), strict=True):
        gap = np.ones((images.shape[-2], max(2, images.shape[-1] // 5), 3))
        strip = []
        for pair in images.permute(0, 1, 3, 4, 2).numpy():
            strip += [pair[0], pair[1], gap]
        axis.imshow(np.concatenate(strip[:-1], axis=1), vmin=0, vmax=1, aspect="equal")
        axis.set_ylabel(shared, rotation=0, ha="right", va="center", fontsize=9, labelpad=8)
        axis.set_xticks([])
        axis.set_yticks([])
        for spine in axis.spines.values():
            spine.set_visible(False)


def _draw_curves(figure: Any, curves: Sequence[MethodCurve]) -> None:
    figure.suptitle("2  How training went", **_TITLE)
    axis = figure.subplots()
    for color, curve in zip(COLORS, curves, strict=False):
        axis.plot(curve.steps, curve.losses.mean(0), color=color, label=curve.name, linewidth=1.6)
        axis.fill_between(curve.steps, curve.losses.min(0), curve.losses.max(0), color=color, alpha=0.2, linewidth=0)
    axis.set_title("loss within tasks; line: mean, band: range over seeds", **_ABOUT)
    axis.set_xlabel("step", fontsize=8)
    axis.set_ylabel("loss", fontsize=8)
    axis.tick_params(labelsize=7)
    axis.grid(alpha=0.3, linewidth=0.4)
    axis.legend(fontsize=8, frameon=False)
    _open(axis)


def _draw_bars(
    figure: Any,
    accuracies: Mapping[str, Mapping[str, tuple[float, float]]],
    colors: Mapping[str, str],
    setting: str,
    chance: float,
) -> None:
    figure.suptitle(f"3  What came out: {setting} accuracy on images never seen", **_TITLE)
    axis = figure.subplots()
    targets = list(next(iter(accuracies.values())))
    width = 0.84 / len(accuracies)
    for m, (method, by_target) in enumerate(accuracies.items()):
        places = np.arange(len(targets)) + (m - (len(accuracies) - 1) / 2) * width
        means = np.array([100 * by_target[target][0] for target in targets])
        halves = np.array([100 * by_target[target][1] for target in targets])
        axis.bar(places, means, width * 0.94, label=method, color=colors[method])
        axis.errorbar(places, means, yerr=halves, fmt="none", ecolor="black", elinewidth=0.8, capsize=1.5)
        for place, mean, half in zip(places, means, halves, strict=True):
            axis.text(place, mean + half + 1, f"{mean:.0f}", ha="center", va="bottom", fontsize=6.5)
    axis.axhline(100 * chance, color="black", linewidth=0.7, linestyle=":")
    axis.text(len(targets) - 0.48, 100 * chance, " chance", va="center", fontsize=7)
    axis.axvline(len(targets) - 1.5, color="black", linewidth=0.5, alpha=0.4)
    axis.set_title("bar: mean, line: 95 % interval over seeds", **_ABOUT)
    axis.set_xticks(range(len(targets)), targets, fontsize=9)
    axis.set_xlim(-0.5, len(targets) - 0.5)
    axis.set_ylabel("accuracy, %", fontsize=8)
    axis.set_ylim(0, 100)
    axis.tick_params(axis="y", labelsize=7)
    axis.grid(axis="y", alpha=0.3, linewidth=0.4)
    axis.set_axisbelow(True)
    _open(axis)
    axis.legend(fontsize=8, ncols=len(accuracies), loc="upper center", bbox_to_anchor=(0.5, -0.08), frameon=False)


def _draw_choices(figure: Any, choices: TaskChoices) -> None:
    ordered, drawn = (choices.of_tasks(choices.episodes % 2 == half) for half in (0, 1))
    apart = ordered.by_kind() - ordered.by_kind().mean(0)
    strength, kind = apart.max(0)
    # Factors that the same kind stresses side by side, the most its own first.
    columns = np.lexsort((-strength.numpy(), kind.numpy()))
    figure.suptitle("4  What tasks keep: TC²'s weights after adaptation", **_TITLE)
    axis = figure.subplots()
    image = axis.imshow(drawn.by_kind().numpy()[:, columns], aspect="auto", cmap="RdBu_r", vmin=0, vmax=2)
    axis.set_title(
        f"mean over fresh tasks of each kind; from its weights alone,\n{100 * choices.recognized():.0f} % of tasks are "
        f"recognized (guessing: {100 / len(choices.names):.0f} %)",
        **_ABOUT,
    )
    axis.set_yticks(range(len(choices.names)), choices.names, fontsize=9)
    axis.set_xlabel(
        "factor of TC², a direction that it found itself, not one that objects are made of;\n"
        "ordered by the kind that stresses it (on other tasks than drawn)",
        fontsize=8,
    )
    axis.tick_params(axis="x", labelsize=7)
    figure.colorbar(image, ax=axis, shrink=0.8, ticks=(0, 1, 2)).ax.tick_params(labelsize=8)


def _open(axis: Any) -> None:
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)

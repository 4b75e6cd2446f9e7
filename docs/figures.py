"""The pictures of the documentation.

python docs/figures.py                  # rewrite docs/figures/*.svg
python docs/figures.py --out FOLDER     # write them elsewhere; --format png to look at them
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from numpy.typing import NDArray

from metatc2.episodes import FactorTasks

FOLDER = Path(__file__).resolve().parent / "figures"
DARK, GRAY, LIGHT = "#1f2430", "#6b7280", "#eef1f6"
#: One color a task: Okabe and Ito's, which color-blind readers tell apart.
TASKS = ("#0072b2", "#d55e00", "#009e73", "#aa4499")
KINDS = {"hue": 1, "position": 3, "lighting": 4}
STYLE: dict[Any, Any] = {"svg.hashsalt": "metatc2", "font.family": "DejaVu Sans", "font.size": 9, "text.color": DARK}
Point = tuple[float, float]


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """A white page whose coordinates are inches, from the lower left."""
    figure = Figure(figsize=(width, height), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.axis("off")
    return figure, axes


def box(
    axes: Axes, at: Point, size: Point, text: str, color: str = DARK, fill: str = LIGHT, fontsize: float = 9
) -> None:
    """A rounded box around centered text, from its lower left corner."""
    shape = FancyBboxPatch(at, *size, boxstyle="round,pad=0,rounding_size=0.08", fc=fill, ec=color, lw=1.2)
    axes.add_patch(shape)
    center = at[0] + size[0] / 2, at[1] + size[1] / 2
    axes.text(*center, text, ha="center", va="center", fontsize=fontsize, linespacing=1.4)


def arrow(axes: Axes, start: Point, end: Point, color: str = DARK, bend: float = 0, dashed: bool = False) -> None:
    """An arrow; `bend` curves it."""
    axes.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=11,
            lw=1.3,
            color=color,
            shrinkA=0,
            shrinkB=0,
            linestyle="--" if dashed else "-",
            connectionstyle=f"arc3,rad={bend}",
        )
    )


def way_back(axes: Axes, start: Point, end: Point, below: float, text: str) -> None:
    """A dashed line that runs down, along `below`, and up again, with an arrow at its end."""
    (x0, y0), (x1, y1) = start, end
    axes.plot([x0, x0, x1, x1], [y0, below, below, y1 - 0.12], color=GRAY, lw=1.3, ls="--", zorder=1)
    arrow(axes, (x1, y1 - 0.15), end, GRAY)
    axes.text(
        (x0 + x1) / 2,
        below,
        text,
        ha="center",
        va="center",
        color=GRAY,
        fontsize=8.5,
        backgroundcolor="white",
        zorder=4,
    )


def label(axes: Axes, at: Point, text: str, color: str = DARK, size: float = 9, **more: Any) -> None:
    """Text, centered unless told otherwise."""
    axes.text(
        *at, text, **{"ha": "center", "va": "center", "color": color, "fontsize": size, "linespacing": 1.4, **more}
    )


def pairs() -> dict[str, NDArray[np.float32]]:
    """Rendered pairs of each kind of task, ``(pairs, 2, H, W, 3)``: what a task keeps is the same in both images of a pair."""
    episode = FactorTasks("one-more", tasks=5, batch=40, image_size=48, seed=3).sample()
    assert episode.identity is not None
    result = {}
    for name, kind in KINDS.items():
        task = int((episode.identity.kinds == kind).nonzero()[0])
        images = episode.images[task].permute(0, 1, 3, 4, 2)
        result[name] = images.float().clip(0, 1).numpy()
    return result


def image(axes: Axes, at: Point, side: float, pixels: NDArray[np.float32], color: str) -> None:
    """A square image with a frame."""
    x, y = at
    axes.imshow(pixels, extent=(x, x + side, y, y + side), aspect="auto", interpolation="nearest", zorder=2)
    frame = FancyBboxPatch(at, side, side, boxstyle="square,pad=0", fc="none", ec=color, lw=1.2, zorder=3)
    axes.add_patch(frame)


def pair(axes: Axes, at: Point, side: float, both: NDArray[np.float32], color: str) -> None:
    """The two images of a pair, side by side."""
    for i in (0, 1):
        image(axes, (at[0] + i * (side + 0.05), at[1]), side, both[i], color)


def bars(axes: Axes, at: Point, heights: Sequence[float], color: str, width: float = 0.13, height: float = 0.5) -> None:
    """Weights of the factors, one bar each, on a line."""
    x, y = at
    for i, value in enumerate(heights):
        axes.bar(x + width * (i + 0.5), height * value, width * 0.7, bottom=y, color=color, zorder=2)
    axes.plot([x, x + width * len(heights)], [y, y], color=GRAY, lw=0.8)


def interval(axes: Axes, at: Point, width: float, value: float, color: str) -> None:
    """A mean and its interval on a scale."""
    (x, y), middle = at, at[0] + width * value
    axes.plot([x, x + width], [y, y], color=LIGHT, lw=5, solid_capstyle="round", zorder=1)
    axes.plot([middle - 0.12, middle + 0.12], [y, y], color=color, lw=1.6)
    axes.plot([middle], [y], "o", color=color, ms=5)


#: Weights of six factors by task, as an example; drawn, not measured.
WEIGHTS = {
    "hue": (0.9, 0.8, 1.0, 0.2, 0.15, 0.1),
    "position": (0.9, 0.8, 0.1, 1.0, 0.2, 0.15),
    "lighting": (0.9, 0.8, 0.15, 0.1, 0.2, 1.0),
}


def overview() -> Figure:
    """From a batch to a row of results."""
    figure, axes = canvas(9.6, 3.7)
    label(axes, (1.15, 3.45), "an episode: tasks that\ndisagree about “the same”")
    label(axes, (4.85, 3.45), "inner loop: each task\nadapts weights of factors")
    box(axes, (2.65, 1.27), (1.08, 1.34), "encoder,\none for\nall tasks")
    box(axes, (5.88, 1.27), (1.0, 1.34), "loss of\neach task")
    for y, color, (name, both) in zip((2.5, 1.62, 0.74), TASKS, pairs().items(), strict=False):
        middle, edge = y + 0.32, 1.94 + 0.4 * (y - 1.62)
        pair(axes, (0.15, y), 0.64, both[0], color)
        label(axes, (1.56, middle), f"same\n{name}", color, 8.5, ha="left")
        arrow(axes, (2.22, middle), (2.62, edge), color)
        arrow(axes, (3.76, edge), (4.32, middle), color)
        bars(axes, (4.44, y + 0.07), WEIGHTS[name], color)
        arrow(axes, (5.34, middle), (5.85, edge), color)
    way_back(axes, (6.38, 1.24), (3.19, 1.24), 0.28, "outer loop: the encoder steps\nthrough the inner loop")
    axes.plot([7.2, 7.2], [0.2, 3.6], color=GRAY, lw=0.8, ls=":")
    label(axes, (8.4, 3.45), "afterwards: the encoder\nalone, on new classes")
    for y, name, value, color in (
        (2.65, "encoder", 0.62, DARK),
        (1.97, "random encoder", 0.38, GRAY),
        (1.29, "raw pixels", 0.5, GRAY),
    ):
        label(axes, (7.4, y + 0.22), name, color, 8.5, ha="left")
        interval(axes, (7.4, y), 2.0, value, color)
    label(axes, (8.4, 0.6), "the same episodes for all,\nwith intervals\n(drawn, not measured)", GRAY, 8.5)
    return figure


def episodes() -> Figure:
    """A batch cut into tasks, each with two sides."""
    figure, axes = canvas(8.4, 3.5)
    label(axes, (0.2, 3.25), "Episode", weight="bold", ha="left", size=10)
    label(axes, (3.05, 3.25), "support: what a task adapts on")
    label(axes, (6.55, 3.25), "query: what its loss is on")
    for y, (name, both), color in zip((2.2, 1.25, 0.3), pairs().items(), TASKS, strict=False):
        box(axes, (0.2, y - 0.06), (1.15, 0.86), f"a task:\nsame {name}", color, "white", 8.5)
        for column, start in enumerate((1.6, 5.1)):
            for i in (0, 1):
                pair(axes, (start + i * 1.66, y), 0.74, both[2 * column + i], color)
    axes.plot([4.95, 4.95], [0.2, 3.35], color=GRAY, lw=0.8, ls=":")
    return figure


def inner_loop() -> Figure:
    """Steps on the support set, a loss on the query set, and the way back."""
    figure, axes = canvas(8.4, 2.6)
    for i, name in enumerate(("θ₀", "θ₁", "θ₂", "θ₃")):
        x = 0.2 + 1.75 * i
        box(axes, (x, 1.2), (0.75, 0.6), name, TASKS[0], "white", 11)
        arrow(axes, (x + 0.78, 1.6), (x + 1.72, 1.6), TASKS[0] if i < 3 else DARK)
        arrow(axes, (x + 1.72, 1.4), (x + 0.78, 1.4), TASKS[1], dashed=True)
        if i < 3:
            label(axes, (x + 1.25, 1.95), "− η ∇ support", TASKS[0], 8)
    box(axes, (7.2, 1.15), (1.1, 0.7), "loss on the\nquery set")
    label(axes, (4.2, 2.38), "inner loop: each step lowers the task's loss on its support set", TASKS[0])
    label(axes, (4.2, 0.88), "adjoint: how the derivative goes back through the steps", TASKS[1])
    exact = "Unroll, Recompute: exact  ·  Truncated, FirstOrder: cut short"
    other = "Implicit: from the end point alone  ·  EvolutionStrategies: from losses alone"
    label(axes, (4.2, 0.38), f"{exact}\n{other}", GRAY, 8.5)
    return figure


def tc2() -> Figure:
    """Factors that all tasks share, and weights of each task's own."""
    figure, axes = canvas(9.0, 3.7)
    box(axes, (0.2, 1.55), (1.0, 1.0), "features z\nof images of\nall tasks", fontsize=8.5)
    arrow(axes, (1.23, 2.05), (1.6, 2.05))
    box(axes, (1.63, 1.55), (1.25, 1.0), "codes\nc = z Vᵀ:\nK factors that\nall tasks share", fontsize=8.5)
    box(axes, (7.33, 1.55), (1.45, 1.0), "mean of the losses\nof all tasks,\ncalibrated", fontsize=8.5)
    label(axes, (3.95, 3.55), "adapt T steps on the support set")
    for (name, heights), y, color in zip(WEIGHTS.items(), (2.7, 1.7, 0.7), TASKS, strict=False):
        middle, edge = y + 0.35, 2.05 + 0.3 * (y - 1.7)
        arrow(axes, (2.91, edge), (3.45, middle), color)
        bars(axes, (3.55, y + 0.12), heights, color)
        label(axes, (3.95, y - 0.04), f"weights of task “{name}”", color, 7.5)
        arrow(axes, (4.5, middle), (5.2, middle), color)
        box(axes, (5.23, y + 0.05), (1.45, 0.6), "calibrated features", color, "white", 8.5)
        arrow(axes, (6.71, middle), (7.3, edge), color)
    way_back(axes, (8.05, 1.52), (0.7, 1.52), 0.28, "outer loop: encoder, V, start and rates of the weights step")
    return figure


def transfer() -> Figure:
    """One set of episodes for everything that is measured."""
    figure, axes = canvas(9.0, 3.0)
    label(axes, (7.88, 2.8), "rows: mean ± 95 %\n(drawn, not measured)", GRAY, 8.5)
    for y, name, value, color in (
        (2.0, "encoder of a run", 0.62, TASKS[0]),
        (1.15, "random encoder", 0.38, GRAY),
        (0.3, "raw pixels", 0.5, GRAY),
    ):
        middle, edge = y + 0.28, 1.43 + 0.4 * (y - 1.15)
        box(axes, (0.2, y), (1.5, 0.55), name, color, "white")
        arrow(axes, (1.73, middle), (2.3, edge), color)
        arrow(axes, (6.31, edge), (6.85, middle), color)
        interval(axes, (6.95, middle), 1.85, value, color)
    box(
        axes, (2.33, 0.5), (1.5, 1.86), "features of\nimages of\nclasses that\npre-training\nhas not seen", fontsize=8.5
    )
    arrow(axes, (3.86, 1.43), (4.4, 1.43))
    words = "a protocol:\nfew-shot, knn,\nlinear, fine-tuning,\nretrieval, …\nthe same draws for all"
    box(axes, (4.43, 0.5), (1.85, 1.86), words, fontsize=8.5)
    return figure


FIGURES: dict[str, Callable[[], Figure]] = {
    "overview": overview,
    "episodes": episodes,
    "inner-loop": inner_loop,
    "tc2": tc2,
    "transfer": transfer,
}


def main() -> None:
    """Write all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--format", choices=("svg", "png"), default="svg")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(STYLE):
        for name, draw in FIGURES.items():
            date = {"Date": None} if args.format == "svg" else {}
            draw().savefig(args.out / f"{name}.{args.format}", dpi=110, metadata=date)


if __name__ == "__main__":
    main()

"""Coding rate reduction of every stage over training, beside the accuracy of a probe: a column a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from metatc2.report.figures.base import FONT, PALETTE, Drawn, in_legend, plain, shorten

_LINES = ("-", "--", ":", "-.")


@dataclass(frozen=True)
class Monitored:
    """One run that was monitored.

    Args:
        run: its name.
        steps: at which it was measured.
        rates: ΔR in nats at those steps, by stage in the order of the stages.
        accuracy: of the k-NN probe in [0, 1], likewise; empty where there was none.
    """

    run: str
    steps: Sequence[int]
    rates: Mapping[str, Sequence[float]]
    accuracy: Mapping[str, Sequence[float]]


def coding_rate(runs: Sequence[Monitored]) -> Drawn:
    """Draw ΔR above, the probe below, a line a stage.

    Args:
        runs: at least one, each measured at least once.

    >>> drawn = coding_rate([Monitored("a", [0, 5], {"early": [1.0, 2.0], "late": [3.0, 1.0]}, {"late": [0.5, 0.25]})])
    >>> drawn.rows[:2]
    [('a', 'early', 0, 1.0, 'none'), ('a', 'early', 5, 2.0, 'none')]
    """
    probed = any(run.accuracy for run in runs)
    figure = Figure(figsize=(max(4.6, 3.4 * len(runs) + 1.2), 5.0 if probed else 2.8), layout="constrained")
    axes = figure.subplots(2 if probed else 1, len(runs), squeeze=False, sharex="col")
    stages = list(dict.fromkeys(stage for run in runs for stage in run.rates))
    styles: dict[str, dict[str, Any]] = {
        stage: {"color": PALETTE[i % len(PALETTE)], "linestyle": _LINES[i % len(_LINES)]}
        for i, stage in enumerate(stages)
    }
    for column, run in enumerate(runs):
        tables = (run.rates, {stage: [100 * v for v in values] for stage, values in run.accuracy.items()})
        for axis, table, label in zip(axes[:, column], tables, ("ΔR, nats", "k-NN accuracy, %"), strict=False):
            for stage, values in table.items():
                axis.plot(run.steps, values, marker=".", linewidth=1.3, **styles[stage])
            axis.set_ylabel(label, fontsize=FONT)
            axis.tick_params(labelsize=FONT - 1)
            axis.grid(alpha=0.3, linewidth=0.4)
        axes[0, column].set_title(plain(shorten(run.run, 40)), fontsize=FONT)
        axes[-1, column].set_xlabel("step", fontsize=FONT)
    handles = [
        Line2D([], [], marker=".", label=in_legend(shorten(stage, 24)), **style) for stage, style in styles.items()
    ]
    figure.legend(handles=handles, loc="outside right upper", fontsize=FONT - 1, frameon=False)
    last = [(run, list(run.rates)[-1]) for run in runs]
    described = "; ".join(
        f"{run.run}, {stage}: ΔR from {run.rates[stage][0]:.3g} to {run.rates[stage][-1]:.3g}" for run, stage in last
    )
    return Drawn(
        name="coding-rate",
        caption="Coding rate reduction ΔR of two views of held-out images at every stage of the encoder while it was trained"
        + (", and below it the accuracy of a k-NN probe there" if probed else "")
        + ". Stages differ in width, so compare a line with itself.",
        alt=f"Line charts over training steps, a line a stage. {described}.",
        figure=figure,
        columns=("run", "stage", "step", "ΔR", "k-NN accuracy"),
        rows=[
            (run.run, stage, step, rate, run.accuracy[stage][i] if stage in run.accuracy else "none")
            for run in runs
            for stage, rates in run.rates.items()
            for i, (step, rate) in enumerate(zip(run.steps, rates, strict=True))
            if math.isfinite(rate)
        ],
    )

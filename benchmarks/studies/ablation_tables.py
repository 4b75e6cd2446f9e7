"""Table and figures of the study of switches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from ablation_switches import SWITCHES
from csv_results import FOLDER, Results
from pairs import ENOUGH, paired_by_seed, signed

from metatc2.objectives import title_of

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # the backend comes first

Rows = Sequence[Mapping[str, Any]]
DEFAULT = "default"  # the switch of a row where nothing is set
RESULTS = Results(
    FOLDER / "ablation.csv",
    {**dict.fromkeys(("source", "objective", "switch", "value"), str), "seed": int, "accuracy": float},
    digits=None,  # figures are drawn of unrounded differences
)


def differences(rows: Rows) -> list[dict[str, Any]]:
    """Each value of a switch less the default by source and objective, over the seeds that both have."""
    by: dict[tuple[str, str, str, str], dict[int, float]] = {}
    for r in rows:
        by.setdefault((r["switch"], r.get("value", ""), r["source"], r["objective"]), {})[r["seed"]] = r["accuracy"]
    result = []
    for (switch, value, source, objective), own in by.items():
        difference = paired_by_seed(own, by.get((DEFAULT, "", source, objective), {}))
        if switch != DEFAULT and difference:
            place = f"{source}, {title_of(objective)}"
            result.append({"switch": switch, "value": value, "place": place, **difference})
    return result


def table(rows: Rows) -> str:
    """A line a switch and value: the difference from the default by source and objective."""
    result = differences(rows)
    places = list(dict.fromkeys(r["place"] for r in result))
    lines = [f"| switch (default) | tried | {' | '.join(places)} |", "|---|---|" + "---|" * len(places)]
    for switch, value in dict.fromkeys((r["switch"], r["value"]) for r in result):
        own = {r["place"]: r for r in result if (r["switch"], r["value"]) == (switch, value)}
        title, default, _ = SWITCHES[switch]
        cells = " | ".join(signed(own.get(place)) for place in places)
        lines.append(f"| {title} ({default}) | {value} | {cells} |")
    return "\n".join(lines)


def draw(rows: Rows, folder: Path) -> None:
    """One figure a switch: difference from the default by value, source and objective, with its interval over seeds."""
    folder.mkdir(parents=True, exist_ok=True)
    every = differences(rows)
    for switch in dict.fromkeys(r["switch"] for r in every):
        own = [r for r in every if r["switch"] == switch]
        values = list(dict.fromkeys(r["value"] for r in own))
        figure, axes = plt.subplots(figsize=(2.2 + 1.1 * len(values), 2.8), constrained_layout=True)
        places = list(dict.fromkeys(r["place"] for r in own))
        for i, place in enumerate(places):
            result = [r for r in own if r["place"] == place]
            at = [values.index(r["value"]) + 0.5 / len(places) * (i - (len(places) - 1) / 2) for r in result]
            heights = [100 * r["difference"] for r in result]
            half = [100 * r["ci95"] if len(r["seeds"]) >= ENOUGH else 0.0 for r in result]
            axes.errorbar(at, heights, half, fmt="o", capsize=3, label=place)
        axes.axhline(0, color="gray", linewidth=0.8)
        axes.set_xticks(range(len(values)), values)
        axes.set_xlim(-0.5, len(values) - 0.5)
        axes.set_xlabel(f"{SWITCHES[switch][0]} (default: {SWITCHES[switch][1]})")
        axes.set_ylabel("points against the default")
        axes.legend(frameon=False, fontsize=8)
        figure.savefig(folder / f"{switch}.png", dpi=100)
        plt.close(figure)

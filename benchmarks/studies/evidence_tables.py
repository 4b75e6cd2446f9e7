"""Table and figure of the study of evidence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
from evidence_cells import ARMS, OBJECTIVES, OURS, SOURCES, titled
from evidence_rows import Rows, differences
from pairs import ENOUGH, signed

from metatc2.objectives import title_of

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # the backend comes first


def table(rows: Rows) -> str:
    """The first arm by objective and source, its paired difference from every other, and what no training gives."""
    parts = [_source(rows, source) for source in SOURCES]
    return "\n\n".join(part for part in parts if part)


def _source(rows: Rows, source: str) -> str:
    result = {(r["objective"], r["against"]): r for r in differences(rows, source)}
    shown = [arm for arm in ARMS if any(against == arm for _, against in result)]
    if not shown:
        return ""
    against = " | ".join(f"difference from {arm}" for arm in shown)
    before = f"{source}, {way(source)}-way 1-shot"
    lines = [
        f"| {before} | plain ± sd | {titled(OURS)} (its calibrated features) | seeds | time | {against} |",
        "|---|---|---|---|---|" + "---|" * len(shown),
    ]
    for objective in OBJECTIVES:
        plain = result.get((objective, "plain"))
        if plain is None:
            continue
        seeds = plain["seeds"]
        own = [result.get((objective, arm)) for arm in shown]
        cells = " | ".join(signed(each) + _fewer(each, len(seeds)) for each in own)
        beside = "" if plain["calibrated"] is None else f" ({100 * plain['calibrated']:.1f})"
        spread = "" if plain["other_sd"] is None else f" ± {100 * plain['other_sd']:.1f}"
        means = f"{100 * plain['other']:.1f}{spread} | {100 * plain['ours']:.1f}{beside}"
        lines.append(f"| {title_of(objective)} | {means} | {len(seeds)} | {plain['time_ratio']:.2f} × | {cells} |")
    for row in rows:
        if "control" in row and row["source"] == source:
            name, mean = row["control"].replace("-", " "), f"{100 * row['accuracy']:.1f}"
            lines.append(f"| {name} | {mean} | – | – | – |" + " – |" * len(shown))
    return "\n".join(lines)


def way(source: str) -> int:
    """Classes of an episode of the headline."""
    return SOURCES[source].evaluations[0].way[0]


def _fewer(row: Mapping[str, Any] | None, seeds: int) -> str:
    """Says so where an interval is of other seeds than the rest of its line."""
    count = len(row["seeds"]) if row else 0
    return f" ({count} seeds)" if ENOUGH <= count != seeds else ""


def draw(rows: Rows, path: Path) -> None:
    """Paired differences from every arm by objective, a panel a source; without interval from fewer than `ENOUGH` seeds."""
    result = {source: own for source in SOURCES if (own := differences(rows, source))}
    sources = list(result)
    others = [arm for arm in ARMS if any(row["against"] == arm for own in result.values() for row in own)]
    figure, panels = plt.subplots(
        1, len(sources), figsize=(2.2 + 4.2 * len(sources), 4.6), sharey=True, squeeze=False, constrained_layout=True
    )
    for axes, source in zip(panels[0], sources, strict=True):
        for i, arm in enumerate(others):
            own = [row for row in result[source] if row["against"] == arm]
            at = [OBJECTIVES.index(row["objective"]) + 0.1 * (i - (len(others) - 1) / 2) for row in own]
            middle = [100 * row["difference"] for row in own]
            half = [100 * row["ci95"] if len(row["seeds"]) >= ENOUGH else 0.0 for row in own]
            axes.errorbar(middle, at, xerr=half, fmt="o", markersize=4, capsize=2, label=f"against {arm}")
        axes.axvline(0, color="gray", linewidth=0.8)
        # Few seeds make wide intervals: the axis follows the means.
        low = min([100 * row["difference"] for row in result[source]] + [0.0])
        high = max([100 * row["difference"] for row in result[source]] + [0.0])
        axes.set_xlim(low - 0.25 * (high - low), high + 0.25 * (high - low))
        axes.set_title(f"pre-trained on {source}: {way(source)}-way 1-shot, unseen", fontsize=10)
        axes.set_xlabel(f"{titled(OURS)} minus the other arm,\npoints (95 % over seeds)")
    panels[0][0].set_yticks(range(len(OBJECTIVES)), [title_of(o) for o in OBJECTIVES])
    panels[0][0].set_ylim(len(OBJECTIVES) - 0.5, -0.5)
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)

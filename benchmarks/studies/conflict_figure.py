"""Figure of the study of conflict."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from conflict_points import ARMS, LEVELS, MAIN, SUBJECT, WIDTH
from conflict_rows import Rows, select

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # the backend comes first


def draw(rows: Rows, path: Path) -> None:
    """Means by level and arm with their seeds."""
    shown = [level for level in LEVELS if select(rows, level=level, objective="simclr", width=WIDTH, arm=SUBJECT)]
    figure, axes = plt.subplots(1, len(shown), figsize=(3.2 * len(shown), 3.6), sharey=True, constrained_layout=True)
    for panel, level in zip(np.atleast_1d(axes), shown, strict=True):
        for place, arm in enumerate(reversed(MAIN)):
            own = select(rows, level=level, objective="simclr", width=WIDTH, arm=arm)
            values = [100 * r["test"]["mean"] for r in own.values()]
            if not values:
                continue
            color = "#c1272d" if arm.startswith("TC²") else "#3477b5" if ARMS[arm].told else "#707070"
            panel.barh(place, np.mean(values), color=color, alpha=0.35)
            panel.plot(values, [place] * len(values), "o", color=color, markersize=3)
        panel.set_yticks(range(len(MAIN)), [f"{a} (told)" if ARMS[a].told else a for a in reversed(MAIN)], fontsize=8)
        panel.set_title(level, fontsize=9)
        panel.set_xlabel("mean of nine factor probes, %", fontsize=8)
        panel.tick_params(labelsize=8)
        for name, style in (("random encoder", ":"), ("raw pixels", "--")):
            untrained = [100 * r["test"]["mean"] for r in rows if r.get("control") == name]
            if untrained:
                panel.axvline(float(np.mean(untrained)), color="black", linestyle=style, linewidth=1, label=name)
        panel.set_xlim(0, 60)
    handles, labels = np.atleast_1d(axes)[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)

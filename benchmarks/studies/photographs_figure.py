"""Figure of the study of photographs."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from photographs_points import ARMS, THROWN_AWAY, USUAL
from photographs_rows import Rows, score, select

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # the backend comes first


def draw(rows: Rows, path: Path) -> None:
    """Usual targets against those that need what views throw away, one mark an arm."""
    figure, panel = plt.subplots(figsize=(6.4, 4.8), constrained_layout=True)
    for arm in ARMS:
        own = list(select(rows, arm).values())
        if not own:
            continue
        x, y = ([100 * score(r, targets) for r in own] for targets in (USUAL, THROWN_AWAY))
        color_ = "#c1272d" if "TC²" in arm else "#3477b5" if ARMS[arm].told else "#707070"
        panel.errorbar(
            np.mean(x),
            np.mean(y),
            np.std(y),
            np.std(x),
            "s" if ARMS[arm].tasks == "views" else "o",
            color=color_,
            markersize=5,
        )
        panel.annotate(arm, (np.mean(x), np.mean(y)), fontsize=7, xytext=(4, 3), textcoords="offset points")
    panel.set_xlabel("usual targets, mean accuracy, %")
    panel.set_ylabel("targets that need what views throw away, %")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)

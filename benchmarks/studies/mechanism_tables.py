"""Tables and figure of the study of mechanisms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import correlations
import matplotlib
import numpy as np
from csv_results import FOLDER, Results
from evidence_cells import OURS, titled
from pairs import paired_by_seed, signed

from metatc2.objectives import title_of

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # the backend comes first

Rows = Sequence[Mapping[str, Any]]
STUDIED = (OURS, "plain", "tasks", "isotropy", "random projection")
OUTCOME = "accuracy"
# Figures of a run that could tell its accuracy.
CAUSES = ("C", "C_excess", "T_excess", "cosine_all", "cosine_all_excess", "effective_rank")
RESULTS = Results(
    FOLDER / "mechanism.csv",
    {
        **dict.fromkeys(("objective", "arm"), str),
        "seed": int,
        "share": float,
        "step": int,
        **{f"{name}{of}": float for name in ("C", "T", "cosine_all") for of in ("", "_null", "_excess")},
        **dict.fromkeys(("effective_rank", "factors_used", OUTCOME), float),
    },
    digits=None,  # ranks are of unrounded figures
)


def at_the_end(rows: Rows) -> list[Mapping[str, Any]]:
    """Rows of the last checkpoint, one a run."""
    return [r for r in rows if r["share"] == 1]


def table(rows: Rows) -> str:
    """Figures at the end of training by objective and arm, means over seeds."""
    names = {"C": "C (null)", "T": "T (null), 10⁻³", "cosine_all": "gradient cosine (null)"}
    lines = [
        f"| end of training | arm | {' | '.join(names.values())} | effective rank | factors used | accuracy | seeds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    final = at_the_end(rows)
    for objective, arm in dict.fromkeys((r["objective"], r["arm"]) for r in final):
        own = [r for r in final if (r["objective"], r["arm"]) == (objective, arm)]

        def mean(name: str, scale: float = 1, of: Sequence[Mapping[str, Any]] = own) -> float:
            return scale * float(np.mean([r[name] for r in of]))

        conflicts = " | ".join(
            f"{mean(n, scale):.{digits}f} ({mean(f'{n}_null', scale):.{digits}f})"
            for n, scale, digits in (("C", 1, 2), ("T", 1e3, 1), ("cosine_all", 1, 2))
        )
        used = f"{100 * mean('factors_used'):.0f} %" if own[0].get("factors_used") is not None else "–"
        lines.append(
            f"| {title_of(objective)} | {titled(arm)} | {conflicts} | {mean('effective_rank'):.1f} | {used} "
            f"| {mean(OUTCOME, 100):.1f} | {len(own)} |"
        )
    return "\n".join(lines)


def differences_table(rows: Rows) -> str:
    """Shared TC² + isotropy less every other arm at the end of training."""
    shown = {
        "C_excess": ("C − null", 1, 2),
        "T_excess": ("T − null, 10⁻³", 1e3, 1),
        "cosine_all_excess": ("gradient cosine − null", 1, 2),
        "effective_rank": ("effective rank", 1, 1),
        OUTCOME: ("accuracy, points", 100, 1),
    }
    lines = [
        f"| {titled(OURS)} less | this arm | {' | '.join(title for title, _, _ in shown.values())} |",
        "|---|---|" + "---|" * len(shown),
    ]
    final = at_the_end(rows)
    for objective, arm in dict.fromkeys((r["objective"], r["arm"]) for r in final if r["arm"] != OURS):
        sides = [[r for r in final if (r["objective"], r["arm"]) == (objective, a)] for a in (OURS, arm)]
        cells = []
        for name, (_, scale, digits) in shown.items():
            own, other = ({r["seed"]: r[name] for r in side} for side in sides)
            cells.append(signed(paired_by_seed(own, other), scale, digits))
        lines.append(f"| {title_of(objective)} | {arm} | {' | '.join(cells)} |")
    return "\n".join(lines)


def correlations_table(rows: Rows) -> str:
    """Rank correlation of every figure with accuracy at the end of training, over the runs within their objectives."""
    return correlations.correlations_table(correlations.correlations(at_the_end(rows), CAUSES, (OUTCOME,)))


PANELS = {
    "T_excess": "T − null",
    "C": "conflict rate C",
    "C_excess": "C − null",
    "cosine_all": "gradient cosine",
    "effective_rank": "effective rank",
    OUTCOME: "20-way 1-shot accuracy",
}
COLORS = dict(zip(STUDIED, ("#c1272d", "#404040", "#3477b5", "#3a923a", "#d98a1f"), strict=True))


def draw(rows: Rows, path: Path) -> None:
    """Lines over training by arm, a row of panels for each objective; bands span the seeds."""
    objectives = list(dict.fromkeys(r["objective"] for r in rows))
    size = (2.6 * len(PANELS), 2.5 * len(objectives) + 0.5)
    figure, axes = plt.subplots(len(objectives), len(PANELS), figsize=size, squeeze=False, constrained_layout=True)
    for line, objective in zip(axes, objectives, strict=True):
        for panel, (name, title) in zip(line, PANELS.items(), strict=True):
            for arm in STUDIED:
                own = [r for r in rows if (r["objective"], r["arm"]) == (objective, arm)]
                steps = sorted({r["step"] for r in own})
                if not steps:
                    continue
                values = [[r[name] for r in own if r["step"] == step] for step in steps]
                panel.plot(
                    steps,
                    [np.mean(v) for v in values],
                    marker="o",
                    markersize=3,
                    color=COLORS[arm],
                    label=titled(arm),
                )
                low, high = [min(v) for v in values], [max(v) for v in values]
                panel.fill_between(steps, low, high, color=COLORS[arm], alpha=0.15, linewidth=0)
            if name in ("T_excess", "C_excess", "cosine_all"):
                panel.axhline(0, color="gray", linewidth=0.8)
            panel.set_title(f"{title_of(objective)}: {title}", fontsize=8)
            panel.tick_params(labelsize=8)
            panel.set_xlabel("step", fontsize=8)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)

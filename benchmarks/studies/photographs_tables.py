"""Tables of the study of photographs."""

from __future__ import annotations

import numpy as np
from pairs import signed
from photographs_points import ARMS, DESIGNS, GROUPS, SEARCH_SEED, TARGETS, WEIGHTS
from photographs_rows import Rows, effects, score, select


def table(rows: Rows, design: str = "SimCLR") -> str:
    """Each arm on each target."""
    lines = [
        f"| {design} | told | {' | '.join(TARGETS)} | usual | thrown away | seeds |",
        "|---|---|" + "---|" * (len(TARGETS) + 3),
    ]
    for arm in ARMS:
        own = list(select(rows, arm, design).values())
        if own:
            lines.append(f"| {arm} | {'yes' if ARMS[arm].told else ''} | {_scores(own)}")
    for name in ("random encoder", "raw pixels"):
        own = [r for r in rows if r.get("control") == name]
        if own:
            lines.append(f"| {name} | | {_scores(own)}")
    return "\n".join(lines)


def _scores(own: Rows) -> str:
    """Cells of the targets, of their groups and of the number of rows."""
    columns = (*((t,) for t in TARGETS), *GROUPS.values())
    means = [f"{100 * np.mean([score(r, targets) for r in own]):.1f}" for targets in columns]
    return f"{' | '.join(means)} | {len(own)} |"


def weights_table(rows: Rows) -> str:
    """The search of regularizers' weights, on held-out training images: 20 neighbors."""
    searched = [r for r in rows if r.get("seed") == SEARCH_SEED and "accuracy" in r]
    own = {r["arm"]: 100 * r["accuracy"]["held-out"] for r in searched}
    plain = max((100 * r["accuracy"]["held-out"] for r in searched if r["arm"] == "plain"), default=float("nan"))
    lines = [
        f"| held-out training images, one seed | without | 0.03 | {' | '.join(WEIGHTS)} |",
        "|---|---|---|" + "---|" * len(WEIGHTS),
    ]
    for name in ("isotropy", "SIGReg", "VISReg"):
        arms = (f"plain + {name}", *(f"plain + {name}, weight {weight}" for weight in WEIGHTS))
        cells = [f"{own[arm]:.1f}" if arm in own else "–" for arm in arms]
        lines.append(f"| {name} | {plain:.1f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def effects_table(rows: Rows, design: str = "SimCLR") -> str:
    """Effects, in points, with their intervals."""
    own = effects(rows, design)
    lines = [
        f"| {design} | usual | thrown away | {' | '.join(TARGETS)} | seeds |",
        "|---|" + "---|" * (len(TARGETS) + 3),
    ]
    for name in dict.fromkeys(r["contrast"] for r in own):
        by = {r["targets"]: r for r in own if r["contrast"] == name}
        cells = " | ".join(signed(by[t]) for t in (*GROUPS, *TARGETS))
        lines.append(f"| {name} | {cells} | {len(by['usual']['seeds'])} |")
    return "\n".join(lines)


#: Contrasts of the designs beside SimCLR on a Conv-4, which have fewer arms or seeds.
_SHORT = (
    "tasks that differ by nothing: main effect of TC²",
    "tasks that differ by nothing: main effect of isotropy",
    "tasks that differ by views: main effect of TC²",
    "tasks that differ by nothing: TC² + isotropy − tasks + isotropy",
    "TC² + isotropy − plain",
    "TC² + isotropy − plain + isotropy",
    "TC² + isotropy − plain + VISReg, weight 0.3",
    "views: TC² + isotropy − plain + VISReg, weight 0.3",
)


def designs_table(rows: Rows) -> str:
    """Effects under other objectives, another encoder and longer training, as far as arms were run there."""
    lines = [
        f"| design | effect | usual | thrown away | {' | '.join(TARGETS)} | seeds |",
        "|---|---|" + "---|" * (len(TARGETS) + 3),
    ]
    for design in DESIGNS:
        if design == "SimCLR":
            continue
        own = effects(rows, design)
        for name in _SHORT:
            by = {r["targets"]: r for r in own if r["contrast"] == name}
            if by:
                cells = " | ".join(signed(by[t]) for t in (*GROUPS, *TARGETS))
                lines.append(f"| {design} | {name} | {cells} | {len(by['usual']['seeds'])} |")
    return "\n".join(lines)

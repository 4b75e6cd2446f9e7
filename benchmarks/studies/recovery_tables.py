"""Tables of the study of recovery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import correlations
import numpy as np
from csv_results import FOLDER, Results
from evidence_cells import titled

from metatc2.objectives import title_of

Rows = Sequence[Mapping[str, Any]]
UNTRAINED = "random encoder"
CAUSES = ("linear_r2", "mig", "sap", "disentanglement", "selection", "cosine")
OUTCOMES = ("C", "C_excess", "T_excess", "accuracy")
WITH_NULL = ("mig", "sap", "disentanglement", "completeness", "cosine")
RESULTS = Results(
    FOLDER / "recovery.csv",
    {
        **dict.fromkeys(("objective", "arm"), str),
        "seed": int,
        "codes": str,
        **{f"{name}{of}": float for name in WITH_NULL for of in ("", "_null")},
        **dict.fromkeys(("linear_r2", "selection", *OUTCOMES), float),
    },
    digits=None,  # ranks are of unrounded figures
)


def table(rows: Rows) -> str:
    """Recovery and selection by objective, arm and codes, means over seeds, in brackets under permuted factors."""
    lines = [
        "| shapes | arm | codes | MIG | SAP | disentanglement | completeness | cosine of V | linear R² | selection | seeds |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for objective, arm, codes in dict.fromkeys((r["objective"], r["arm"], r["codes"]) for r in rows):
        result = [r for r in rows if (r["objective"], r["arm"], r["codes"]) == (objective, arm, codes)]

        def shown(name: str, of: Sequence[Mapping[str, Any]] = result) -> str:
            if of[0].get(name) is None:
                return "–"
            null = f" ({np.mean([r[f'{name}_null'] for r in of]):.2f})" if f"{name}_null" in of[0] else ""
            return f"{np.mean([r[name] for r in of]):.2f}{null}"

        names = ("mig", "sap", "disentanglement", "completeness", "cosine", "linear_r2", "selection")
        title = f"{title_of(objective)} | {titled(arm)} | {codes}"
        lines.append(f"| {title} | {' | '.join(map(shown, names))} | {len(result)} |")
    return "\n".join(lines)


def correlations_table(rows: Rows) -> str:
    """Rank correlation of every score with conflict and accuracy across trained runs, by kind of codes."""
    result = []
    for codes in dict.fromkeys(r["codes"] for r in rows):
        own = [r for r in rows if r["codes"] == codes and r["arm"] != UNTRAINED]
        result += [{"codes": codes, **r} for r in correlations.correlations(own, CAUSES, OUTCOMES)]
    return correlations.correlations_table(result)

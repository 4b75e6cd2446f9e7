"""Rows of the study of evidence: their columns, and differences over paired seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from csv_results import FOLDER, Results
from evidence_cells import ARMS, OBJECTIVES, OURS
from pairs import paired_by_seed

Rows = Sequence[Mapping[str, Any]]
#: Accuracies are means over the targets of the headline: of the encoder, and of the calibrated features where it has them.
RESULTS = Results(
    FOLDER / "evidence.csv",
    {
        **dict.fromkeys(("control", "source", "objective", "arm"), str),
        "seed": int,
        **dict.fromkeys(("accuracy", "calibrated", "train_seconds"), float),
        "diverged": bool,
    },
    digits=None,  # figures are drawn of unrounded differences
)


def by_seed(rows: Rows, source: str, objective: str, arm: str) -> dict[int, Mapping[str, Any]]:
    """Rows of an arm that did not diverge."""
    at = (source, objective, arm)
    return {r["seed"]: r for r in rows if "accuracy" in r and (r["source"], r.get("objective"), r.get("arm")) == at}


def differences(rows: Rows, source: str) -> list[dict[str, Any]]:
    """Shared TC² + isotropy less every other arm by objective, over the seeds that both have, and what stands beside it."""
    result = []
    for objective in OBJECTIVES:
        ours = by_seed(rows, source, objective, OURS)
        for arm in ARMS:
            theirs = by_seed(rows, source, objective, arm)
            accuracies = [{s: r["accuracy"] for s, r in side.items()} for side in (ours, theirs)]
            difference = paired_by_seed(*accuracies)
            if arm == OURS or difference is None:
                continue
            seeds = difference["seeds"]
            calibrated = [ours[s]["calibrated"] for s in seeds if "calibrated" in ours[s]]
            other = [theirs[s]["accuracy"] for s in seeds]
            result.append(
                {
                    **difference,
                    "objective": objective,
                    "against": arm,
                    "ours": float(np.mean([ours[s]["accuracy"] for s in seeds])),
                    "calibrated": float(np.mean(calibrated)) if calibrated else None,
                    "other": float(np.mean(other)),
                    "other_sd": float(np.std(other, ddof=1)) if len(seeds) > 1 else None,
                    "time_ratio": _seconds(ours, seeds) / _seconds(theirs, seeds),
                }
            )
    return result


def _seconds(rows: Mapping[int, Mapping[str, Any]], seeds: Sequence[int]) -> float:
    return sum(float(rows[s]["train_seconds"]) for s in seeds)

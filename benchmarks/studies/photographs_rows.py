"""Rows of the study of photographs: their columns, what the searches chose, and effects over paired seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from csv_results import FOLDER, Results
from pairs import paired
from photographs_points import ARMS, DESIGNS, GROUPS, PAIRS, SEARCH, SEARCH_SEED, TARGETS

Rows = Sequence[Mapping[str, Any]]
RESULTS = Results(
    FOLDER / "photographs.csv",
    {
        **dict.fromkeys(("control", "objective", "arm"), str),
        "seed": int,
        **dict.fromkeys(("lr", "temperature", "encoder"), str),
        "steps": int,
        "identity": str,
        "diverged": bool,
        "seconds": float,
        **{f"accuracy.{target}": float for target in (*TARGETS, "held-out")},
    },
)


def best(rows: Rows) -> tuple[str, str]:
    """Learning rate and temperature that were best for the plain objective on held-out training images."""
    own = [r for r in rows if r.get("seed") == SEARCH_SEED and r["arm"] == "plain" and "accuracy" in r]
    if not own:
        return SEARCH[0]
    chosen = max(own, key=lambda r: r["accuracy"]["held-out"])
    return chosen["lr"], chosen["temperature"]


def tuned_arms(rows: Rows) -> list[str]:
    """Each regularizer at the weight that was best on held-out training images."""
    searched: dict[str, Mapping[str, Any]] = {}
    for r in rows:
        if r.get("seed") == SEARCH_SEED and r["arm"].startswith("plain +") and "accuracy" in r:
            name = r["arm"].split(", weight")[0]
            if name not in searched or r["accuracy"]["held-out"] > searched[name]["accuracy"]["held-out"]:
                searched[name] = r
    return [r["arm"] for r in searched.values()]


def select(rows: Rows, arm: str, design: str = "SimCLR") -> dict[int, Mapping[str, Any]]:
    """Rows of an arm by seed; those of the search are left out."""
    return {
        r["seed"]: r
        for r in rows
        if r.get("arm") == arm
        and (r["objective"], r["encoder"], r["steps"]) == DESIGNS[design]
        and r["seed"] != SEARCH_SEED
        and "accuracy" in r
    }


def score(row: Mapping[str, Any], targets: Sequence[str]) -> float:
    """Mean accuracy over targets."""
    return float(np.mean([row["accuracy"][target] for target in targets]))


def effects(rows: Rows, design: str = "SimCLR") -> list[dict[str, Any]]:
    """Effects of TC² in the 2 × 2 design and against the best plain recipe, over the seeds that both have."""
    result = []
    for name, pairs in _contrasts(tuned_arms(rows)).items():
        sides = [(select(rows, a, design), select(rows, b, design)) for a, b in pairs]
        seeds = sorted(set.intersection(*(set(side) for both in sides for side in both)))
        if not seeds:
            continue
        for group, targets in {**GROUPS, **{t: (t,) for t in TARGETS}}.items():
            values = [float(np.mean([score(a[s], targets) - score(b[s], targets) for a, b in sides])) for s in seeds]
            result.append({"contrast": name, "targets": group, **paired(values, seeds)})
    return result


def _contrasts(tuned: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
    """Pairs of arms whose differences are averaged, by the name of their effect."""
    contrasts: dict[str, list[tuple[str, str]]] = {}
    for tasks, pairs in PAIRS.items():
        contrasts |= {f"{tasks}: {a} − {b}": [(a, b)] for a, b in pairs}
        contrasts[f"{tasks}: main effect of TC²"] = list(pairs)
        contrasts[f"{tasks}: main effect of isotropy"] = [(pairs[1][0], pairs[0][0]), (pairs[1][1], pairs[0][1])]
    contrasts |= {f"{a} − plain": [(a, "plain")] for a in ARMS if a != "plain"}
    contrasts |= {
        f"{a} − {b}": [(a, b)]
        for a in ("TC²", "TC² + isotropy", "views: TC²", "views: TC² + isotropy")
        for b in ("plain + isotropy", *tuned)
    }
    return contrasts

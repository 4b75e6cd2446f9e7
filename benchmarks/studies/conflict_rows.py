"""Rows of the study of conflict: their columns, what the search of rates and weights chose, and pairs by seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from conflict_points import ARMS, RATES, REGULARIZERS, SEARCH_SEED, SUBJECTS, WIDTH
from csv_results import FOLDER, Results
from pairs import paired, paired_by_seed

from metatc2.data.sources.shapes.render import FACTORS
from metatc2.diagnostics import delta_p

Rows = Sequence[Mapping[str, Any]]
COLUMNS: dict[str, type] = {
    **dict.fromkeys(("control", "level", "objective", "arm"), str),
    **dict.fromkeys(("width", "seed"), int),
    **dict.fromkeys(("lr", "identity"), str),
    "diverged": bool,
    **dict.fromkeys(("seconds", "validation.mean", "test.mean"), float),
    **{f"test.factors.{factor}": float for factor in FACTORS},
}
RESULTS = Results(FOLDER / "conflict.csv", COLUMNS)


def searched(rows: Rows) -> dict[str, str]:
    """The learning rate of each arm that was best on validation images."""
    own = [row for row in rows if row["seed"] == SEARCH_SEED and "arm" in row and "validation" in row]
    arms = dict.fromkeys(row["arm"] for row in own)
    return {arm: max((r for r in own if r["arm"] == arm), key=lambda r: r["validation"]["mean"])["lr"] for arm in arms}


def tuned_arms(rows: Rows) -> list[str]:
    """Each regularizer, alone and beside TC², at the weight that was best on validation images; the best of them first."""

    def validated(row: Mapping[str, Any]) -> float:
        return float(row["validation"]["mean"])

    best: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        if "arm" not in row or row["seed"] != SEARCH_SEED or "validation" not in row:
            continue  # no run of the search, or one that diverged
        name = row["arm"].split(", weight")[0]
        known = name.removeprefix("TC² + ") in REGULARIZERS
        if known and (name not in best or validated(row) > validated(best[name])):
            best[name] = row
    return [row["arm"] for row in sorted(best.values(), key=validated, reverse=True)]


def select(rows: Rows, **at: Any) -> dict[int, Mapping[str, Any]]:
    """Rows of one point by seed, at the arm's own learning rate; those of the search are left out."""
    rates = searched(rows)
    return {
        r["seed"]: r
        for r in rows
        if "arm" in r
        and all(r[key] == value for key, value in at.items())
        and r["seed"] != SEARCH_SEED
        and "test" in r
        and r["lr"] == rates.get(r["arm"], RATES[0])
    }


def means(rows: Rows, **at: Any) -> dict[int, float]:
    """Mean of the nine probes on test images by seed; at a point, as `select`."""
    return {seed: row["test"]["mean"] for seed, row in select(rows, **at).items()}


def gap(rows: Rows, arm: str, against: str, **at: Any) -> dict[str, Any] | None:
    """An arm less another at one point, over the seeds that both have; None where they share none."""
    return paired_by_seed(means(rows, arm=arm, **at), means(rows, arm=against, **at))


def interactions(rows: Rows) -> list[dict[str, Any]]:
    """What TC² gains over one head where tasks disagree, less what it gains where they do not: the part that is conflict."""
    result = []
    at = {"objective": "simclr", "width": WIDTH}
    for subject in SUBJECTS:
        for level in ("one-more", "contradiction"):
            sides = [means(rows, level=w, arm=arm, **at) for w in (level, "same") for arm in (subject, "one head")]
            seeds = sorted(set.intersection(*map(set, sides)))
            if seeds:
                own, plain, null, plain_null = (np.array([side[s] for s in seeds]) for side in sides)
                gains = {"interaction": level, "subject": subject, "gain": float(np.mean(own - plain))}
                result.append({**gains, **paired(((own - plain) - (null - plain_null)).tolist(), seeds)})
    return result


def versus_separate(rows: Rows) -> dict[str, float]:
    """Δp of each arm against separate encoders, over the factors that those tell at all, in percent."""
    at = {"level": "one-more", "objective": "simclr", "width": WIDTH}
    alone = select(rows, arm="separate encoders", **at)
    if not alone:
        return {}
    single = {f: float(np.mean([r["test"]["factors"][f] for r in alone.values()])) for f in FACTORS}
    known = [f for f in FACTORS if single[f] > 0.1]
    result = {}
    for arm in ARMS:
        own = select(rows, arm=arm, **at)
        if own:
            values = [float(np.mean([r["test"]["factors"][f] for r in own.values()])) for f in known]
            result[arm] = delta_p(values, [single[f] for f in known])
    return result

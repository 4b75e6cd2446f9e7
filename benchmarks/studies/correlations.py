"""Rank correlations across runs, and their table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata, spearmanr


def correlations(
    rows: Sequence[Mapping[str, Any]], causes: Sequence[str], outcomes: Sequence[str]
) -> list[dict[str, Any]]:
    """Spearman's rank correlation across runs: of all, of each objective, and of all by rank within their objective.

    The last is the one to read over several objectives: losses have their own units, and one objective may both conflict more
    and transfer better without that either explains the other within it. No p-value stands beside it: runs of one arm differ by
    their seed alone, so there are fewer independent ones than runs.

    Args:
        rows: one a run, with its objective and figures.
        causes, outcomes: figures that are correlated, each with each; rows that lack one are left out.
    """
    result = []
    for cause in causes:
        for outcome in outcomes:
            have = [r for r in rows if r.get(cause) is not None and r.get(outcome) is not None]
            by = {o: [r for r in have if r["objective"] == o] for o in dict.fromkeys(r["objective"] for r in have)}
            within = [_ranks(_pairs(own, cause, outcome)) for own in by.values()]
            groups: dict[str, np.ndarray[Any, Any]] = {
                "all runs": _pairs(have, cause, outcome),
                "within objectives": np.concatenate([np.zeros((0, 2)), *within]),
                **{objective: _pairs(own, cause, outcome) for objective, own in by.items()},
            }
            for over, pairs in groups.items():
                if len(pairs) > 2 and (np.ptp(pairs, axis=0) > 0).all():
                    facts = {"cause": cause, "outcome": outcome, "over": over, "runs": len(pairs)}
                    result.append({**facts, "spearman": float(spearmanr(pairs).statistic)})
    return result


def _pairs(rows: Sequence[Mapping[str, Any]], cause: str, outcome: str) -> np.ndarray[Any, Any]:
    return np.array([[r[cause], r[outcome]] for r in rows], dtype=float).reshape(-1, 2)


def _ranks(pairs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Ranks from 0 to 1 in each column, so that objectives with few runs count as those with many."""
    return (np.asarray(rankdata(pairs, axis=0)) - 0.5) / len(pairs)


def correlations_table(result: Sequence[Mapping[str, Any]]) -> str:
    """Rank correlation of every cause with every outcome, over the runs within their objectives."""
    result = [r for r in result if r["over"] == "within objectives"]
    outcomes = list(dict.fromkeys(r["outcome"] for r in result))
    kinds = list(dict.fromkeys(r.get("codes") for r in result))
    lines = [
        f"| rank correlation across runs | {' | '.join(outcomes)} | runs |",
        "|---|" + "---|" * (len(outcomes) + 1),
    ]
    for kind, cause in dict.fromkeys((r.get("codes"), r["cause"]) for r in result):
        own = {r["outcome"]: r for r in result if (r.get("codes"), r["cause"]) == (kind, cause)}
        cells = " | ".join(f"{own[o]['spearman']:+.2f}" if o in own else "–" for o in outcomes)
        name = cause if len(kinds) == 1 else f"{cause} of {kind}"
        lines.append(f"| {name.replace('_', ' ')} | {cells} | {max(r['runs'] for r in own.values())} |")
    return "\n".join(lines)

"""Differences of pairs, one a seed, and how tables show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from metatc2.transfer import mean_interval

ENOUGH = 3  # seeds that an interval is shown from: that of two is mostly chance


def paired(values: Sequence[float], seeds: Sequence[int]) -> dict[str, Any]:
    """Differences of pairs: mean, 95 % interval (None of one seed), and each.

    Args:
        values: one a pair.
        seeds: of the pairs.
    """
    mean, half = mean_interval(values) if len(values) > 1 else (values[0], None)
    return {"difference": mean, "ci95": half, "per_seed": list(values), "seeds": list(seeds)}


def paired_by_seed(own: Mapping[int, float], other: Mapping[int, float]) -> dict[str, Any] | None:
    """`paired` of values by seed, over the seeds that both sides have; None where they share none."""
    seeds = sorted(own.keys() & other.keys())
    return paired([own[s] - other[s] for s in seeds], seeds) if seeds else None


def signed(row: Mapping[str, Any] | None, scale: float = 100, digits: int = 1) -> str:
    """A difference with its interval, bold where that excludes zero; without from fewer than `ENOUGH` seeds.

    Args:
        row: as `paired` gives it; None is shown as a dash.
        scale: of what is shown; 100 makes points of accuracies.
        digits: after the point.

    >>> signed({"difference": 0.05, "ci95": 0.01, "seeds": [0, 1, 2]}), signed(None)
    ('**+5.0 ± 1.0**', '–')
    """
    if row is None:
        return "–"
    if len(row["seeds"]) < ENOUGH:
        return f"{scale * row['difference']:+.{digits}f} ({len(row['seeds'])})"
    words = f"{scale * row['difference']:+.{digits}f} ± {scale * row['ci95']:.{digits}f}"
    return f"**{words}**" if abs(row["difference"]) > row["ci95"] else words

"""The README's table of evidence, of the same committed results as the long ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from conflict_few_shot import RESULTS as FEW_SHOT
from conflict_points import SUBJECT, WIDTH
from conflict_rows import gap, interactions, means, tuned_arms
from pairs import paired_by_seed, signed

Rows = Sequence[Mapping[str, Any]]
LEVELS = ("one-more", "contradiction")


def evidence_table(rows: Rows) -> str:
    """Six differences, at both levels at which tasks disagree."""
    lines = [
        "| points, mean of nine factors unless one is named | each task keeps one more factor | tasks contradict each other |",
        "|---|---|---|",
    ]
    claims = {
        "TC² − one head for all tasks": [_against(rows, "one head", level) for level in LEVELS],
        "of which only with conflict": [_only_with_conflict(rows, level) for level in LEVELS],
        "TC² − VISReg at its best weight": [_against(rows, _tuned(rows, "VISReg"), level) for level in LEVELS],
        "few-shot of what all tasks share, three seeds: TC² − one head": [_few_shot("one head"), "nothing is shared"],
        "the same: TC² − VISReg at its best weight": [_few_shot(_tuned(rows, "VISReg")), "nothing is shared"],
        "TC² − raw pixels": [_against_pixels(rows, level) for level in LEVELS],
    }
    return "\n".join(lines + [f"| {claim} | {' | '.join(cells)} |" for claim, cells in claims.items()])


def _at(level: str) -> dict[str, Any]:
    return {"level": level, "objective": "simclr", "width": WIDTH}


def _against(rows: Rows, arm: str, level: str) -> str:
    return signed(gap(rows, SUBJECT, arm, **_at(level)))


def _tuned(rows: Rows, name: str) -> str:
    """The arm with the weight of a regularizer that was best on validation images."""
    return next(arm for arm in tuned_arms(rows) if arm.split(",")[0] == name)


def _only_with_conflict(rows: Rows, level: str) -> str:
    result = {(r["subject"], r["interaction"]): r for r in interactions(rows)}
    return signed(result.get((SUBJECT, level)))


def _few_shot(other: str) -> str:
    rows = [r for r in FEW_SHOT.read() if "accuracy" in r]
    own, against = ({r["seed"]: r["accuracy"]["1"] for r in rows if r["arm"] == arm} for arm in (SUBJECT, other))
    return signed(paired_by_seed(own, against))


def _against_pixels(rows: Rows, level: str) -> str:
    pixels = next(r for r in rows if r.get("control") == "raw pixels")["test"]["mean"]
    own = means(rows, arm=SUBJECT, **_at(level))
    return signed(paired_by_seed(own, dict.fromkeys(own, pixels)))

"""The README's two tables, of the same committed results as the long ones: what stands behind TC², and what a step costs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from cells import paired
from conflict import SUBJECT, WIDTH, select, tuned_arms
from conflict_few_shot import RESULTS as FEW_SHOT
from evidence import signed

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


def cost_table(rows: Rows) -> str:
    """Time and memory of a calibrated step over a plain one, by the number of inner steps."""
    steps = sorted({r["inner_steps"] for r in rows})
    lines = [
        "| time (memory) of a step, over plain | " + " | ".join(f"T = {t}" for t in steps) + " |",
        "|---|" + "---|" * len(steps),
    ]
    for encoder, width, batch in dict.fromkeys((r["encoder"], r["width"], r["batch"]) for r in rows):
        own = {r["inner_steps"]: r for r in rows if (r["encoder"], r["width"], r["batch"]) == (encoder, width, batch)}
        cells = [f"{own[t]['ratio']:.2f} ({own[t]['memory_ratio']:.2f})" if t in own else "–" for t in steps]
        lines.append(f"| {encoder}, width {width}, batch {batch} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _at(level: str) -> dict[str, Any]:
    return {"level": level, "objective": "simclr", "width": WIDTH}


def _found(rows: Rows, wanted: Mapping[str, Any]) -> str:
    """The difference that is kept among the results with these keys."""
    return signed(next(r for r in rows if all(r.get(key) == value for key, value in wanted.items())))


def _against(rows: Rows, arm: str, level: str) -> str:
    return _found(rows, {**_at(level), "subject": SUBJECT, "against": arm})


def _tuned(rows: Rows, name: str) -> str:
    """The arm with the weight of a regularizer that was best on validation images."""
    return next(arm for arm in tuned_arms(rows) if arm.split(",")[0] == name)


def _only_with_conflict(rows: Rows, level: str) -> str:
    return _found(rows, {"interaction": level, "subject": SUBJECT})


def _few_shot(other: str) -> str:
    rows = json.loads(FEW_SHOT.read_text())["rows"]
    sides = [{r["seed"]: r["accuracy"]["1"] for r in rows if r["arm"] == arm} for arm in (SUBJECT, other)]
    seeds = sorted(sides[0].keys() & sides[1].keys())
    return signed(paired([sides[0][s] - sides[1][s] for s in seeds], seeds))


def _against_pixels(rows: Rows, level: str) -> str:
    pixels = next(r for r in rows if r.get("control") == "raw pixels")["test"]["mean"]
    own = select([r for r in rows if "arm" in r], arm=SUBJECT, **_at(level))
    seeds = sorted(own)
    return signed(paired([own[s]["test"]["mean"] - pixels for s in seeds], seeds))

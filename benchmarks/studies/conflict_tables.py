"""Tables of the study of conflict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any

import numpy as np
from conflict_points import (
    ARMS,
    FACTOR_ARMS,
    LEVELS,
    OBJECTIVES,
    REGULARIZERS,
    SEARCH_SEED,
    SUBJECT,
    WEIGHTS,
    WIDTH,
    WIDTHS,
    beside,
)
from conflict_rows import Rows, gap, interactions, means, select, tuned_arms, versus_separate
from pairs import signed

from metatc2.data.sources.shapes.render import FACTORS

MAIN = {"objective": "simclr", "width": WIDTH}


def levels_table(rows: Rows) -> str:
    """Every level that was measured."""
    measured = [level for level in LEVELS if any(r.get("level") == level and "arm" in r for r in rows)]
    return "\n\n".join(table(rows, level) for level in measured)


def versus_table(rows: Rows) -> str:
    """Δp of each arm against separate encoders."""
    result = versus_separate(rows)
    lines = ["| one-more | told | Δp against separate encoders, % |", "|---|---|---|"]
    lines += [f"| {arm} | {'yes' if ARMS[arm].told else ''} | {value:+.0f} |" for arm, value in result.items()]
    return "\n".join(lines)


def interaction_table(rows: Rows) -> str:
    """Gains at the levels that disagree, less the gain at the level that does not."""
    lines = ["| form | level | TC² − one head | less the same at the level same | seeds |", "|---|---|---|---|---|"]
    lines += [
        f"| {r['subject']} | {r['interaction']} | {100 * r['gain']:+.1f} | {signed(r)} | {len(r['seeds'])} |"
        for r in interactions(rows)
    ]
    return "\n".join(lines)


def table(rows: Rows, level: str) -> str:
    """One level: each arm's mean and factors, and TC² less it."""
    lines = [
        f"| {level} | told | mean | TC² − arm | {' | '.join(FACTORS)} | seeds |",
        "|---|---|---|---|" + "---|" * (len(FACTORS) + 1),
    ]
    for arm in ARMS:
        own = select(rows, level=level, arm=arm, **MAIN)
        if own:
            difference = None if arm == SUBJECT else gap(rows, SUBJECT, arm, level=level, **MAIN)
            told = "yes" if ARMS[arm].told else ""
            lines.append(f"| {arm} | {told} | {_scores(own.values(), signed(difference))}")
    controls = [r for r in rows if "control" in r]
    for name in dict.fromkeys(r["control"] for r in controls):
        lines.append(f"| {name} | | {_scores([r for r in controls if r['control'] == name], '–')}")
    return "\n".join(lines)


def _scores(own: Iterable[Mapping[str, Any]], difference: str) -> str:
    """Cells of the mean, the difference, the factors and the number of rows."""
    tests = [r["test"] for r in own]
    factors = [100 * float(np.mean([t["factors"][f] for t in tests])) for f in FACTORS]
    mean = np.mean([100 * t["mean"] for t in tests])
    return f"{mean:.1f} | {difference} | {' | '.join(f'{value:.0f}' for value in factors)} | {len(tests)} |"


def objectives_table(rows: Rows) -> str:
    """The one-more level under each objective."""
    arms = beside(tuned_arms(rows))
    lines = [
        f"| one-more | {' | '.join(arms)} | {' | '.join(f'TC² − {arm}' for arm in arms[1:])} | seeds |",
        "|---|" + "---|" * (2 * len(arms)),
    ]
    for objective in OBJECTIVES:
        at = {"level": "one-more", "objective": objective, "width": WIDTH}
        own = {arm: means(rows, arm=arm, **at) for arm in arms}
        if not own[SUBJECT]:
            continue
        shown = [f"{100 * np.mean(list(own[arm].values())):.1f}" if own[arm] else "–" for arm in arms]
        shown += [signed(gap(rows, SUBJECT, arm, **at)) for arm in arms[1:]]
        lines.append(f"| {objective} | {' | '.join(shown)} | {len(own[SUBJECT])} |")
    return "\n".join(lines)


def weights_table(rows: Rows) -> str:
    """The search of regularizers' weights, on validation images: the better of the rates that were tried."""
    best: dict[str, float] = {}
    for r in (r for r in rows if r.get("seed") == SEARCH_SEED and "arm" in r and "validation" in r):
        best[r["arm"]] = max(best.get(r["arm"], -1.0), r["validation"]["mean"])
    plain = {"": "one head", "TC² + ": SUBJECT}
    lines = [
        f"| validation images, one seed | without | 0.03 | {' | '.join(WEIGHTS)} |",
        "|---|---|---|" + "---|" * len(WEIGHTS),
    ]
    for (prefix, without), name in product(plain.items(), REGULARIZERS):
        arms = (without, f"{prefix}{name}", *(f"{prefix}{name}, weight {weight}" for weight in WEIGHTS))
        cells = [f"{100 * best[arm]:.1f}" if arm in best else "–" for arm in arms]
        lines.append(f"| {prefix}{name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def capacity_table(rows: Rows) -> str:
    """The one-more level by width of the encoder, and by number of factors."""
    lines = ["| one-more | TC² | compared with | mean | TC² − it | seeds |", "|---|---|---|---|---|---|"]
    compared = [(f"width {w}", w, "one head") for w in WIDTHS] + [(f"width {WIDTH}", WIDTH, arm) for arm in FACTOR_ARMS]
    for label, width, arm in compared:
        at = {"level": "one-more", "objective": "simclr", "width": width}
        difference = gap(rows, SUBJECT, arm, **at)
        if difference:
            own, other = (100 * np.mean(list(means(rows, arm=a, **at).values())) for a in (SUBJECT, arm))
            count = len(difference["seeds"])
            lines.append(f"| {label} | {own:.1f} | {arm} | {other:.1f} | {signed(difference)} | {count} |")
    return "\n".join(lines)


def together_table(rows: Rows) -> str:
    """What TC² adds to each regularizer at its best weight, and each to the other."""
    lines = ["| level | regularizer | it alone − one head | TC² − it | TC² + it − it | TC² + it − TC² | seeds |"]
    lines.append("|---|---|---|---|---|---|---|")
    arms = {arm.split(",")[0]: arm for arm in tuned_arms(rows)}
    for level, name in product(("one-more", "contradiction", "same"), REGULARIZERS):
        alone, both = (arms.get(f"{before}{name}", "") for before in ("", "TC² + "))
        pairs = ((alone, "one head"), (SUBJECT, alone), (both, alone), (both, SUBJECT))
        result = [gap(rows, a, b, level=level, **MAIN) for a, b in pairs]
        if any(result):
            counts = "/".join(str(len(each["seeds"]) if each else 0) for each in result)
            lines.append(f"| {level} | {alone} | {' | '.join(map(signed, result))} | {counts} |")
    return "\n".join(lines)

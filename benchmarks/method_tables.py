"""Tables of the pages of methods: what is committed of one learner or objective, beside its controls."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import conflict_rows
import evidence_rows
import glyphs_fewshot
from conflict_points import OBJECTIVES as AT_CONFLICT
from conflict_points import WIDTH
from evidence_cells import OBJECTIVES, SOURCES
from evidence_tables import way
from pairs import ENOUGH

from metatc2.transfer import mean_interval

Rows = Sequence[Mapping[str, Any]]
BASELINE = "linear-probe"


def page_of(name: str) -> str:
    """The page of a learner or objective, without its ending.

    >>> page_of("maml++")
    'maml-plus-plus'
    """
    return name.replace("++", "-plus-plus")


def marked(name: str) -> str:
    """What marks the table of a learner or objective in its page."""
    return f"method_{page_of(name).replace('-', '_')}"


def learner_table(rows: Rows, learner: str) -> str:
    """A learner on labeled tasks beside the baseline and raw pixels."""
    return glyphs_fewshot.table([row for row in rows if "control" in row or row["learner"] in (learner, BASELINE)])


def objective_table(rows: Rows, objective: str) -> str:
    """The plain objective on each source of the study of evidence, beside what no training gives."""
    controls = ("random encoder", "raw pixels")
    lines = [f"| points | {objective} | {' | '.join(controls)} | seeds |", "|---|---|---|---|---|"]
    for source in SOURCES:
        own = [row["accuracy"] for row in evidence_rows.by_seed(rows, source, objective, "plain").values()]
        if own:
            beside = " | ".join(_control(rows, source, name) for name in controls)
            lines.append(f"| {source}, {way(source)}-way 1-shot | {_mean(own)} | {beside} | {len(own)} |")
    return "\n".join(lines)


def conflict_table(rows: Rows, objective: str) -> str:
    """One head for all tasks at the level one-more, beside what no training gives."""
    own = conflict_rows.means(rows, arm="one head", level="one-more", objective=objective, width=WIDTH)
    lines = ["| points | mean of nine probes | seeds |", "|---|---|---|"]
    lines.append(f"| {objective}, one head | {_mean(list(own.values()))} | {len(own)} |")
    for name in ("random encoder", "raw pixels"):
        result = [row["test"]["mean"] for row in rows if row.get("control") == name]
        lines.append(f"| {name} | {_mean(result)} | {len(result)} |")
    return "\n".join(lines)


def _control(rows: Rows, source: str, name: str) -> str:
    result = [r["accuracy"] for r in rows if r["source"] == source and r.get("control", "").replace("-", " ") == name]
    return f"{100 * statistics.fmean(result):.1f}" if result else "–"


def _mean(values: Sequence[float]) -> str:
    half = f" ± {100 * mean_interval(values)[1]:.1f}" if len(values) >= ENOUGH else ""
    return f"{100 * statistics.fmean(values):.1f}{half}"


def _of(table: Callable[..., str], argument: str, names: Sequence[str]) -> dict[str, Callable[[Rows], str]]:
    return {marked(name): partial(table, **{argument: name}) for name in names}


#: By the results and not by the registry, which knows learners of installed packages too.
MEASURED = dict.fromkeys(row["learner"] for row in glyphs_fewshot.RESULTS.read() if "learner" in row)
LEARNER_TABLES = _of(learner_table, "learner", list(MEASURED))
OBJECTIVE_TABLES = _of(objective_table, "objective", OBJECTIVES)
CONFLICT_TABLES = _of(conflict_table, "objective", [name for name in AT_CONFLICT if name not in OBJECTIVES])

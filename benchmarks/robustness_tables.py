"""Tables of killed runs and of hostile inputs, and the README's line of what is measured besides evidence and cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Rows = Sequence[Mapping[str, Any]]


def faults(rows: Rows) -> str:
    """What became of runs that were killed."""
    lines = [
        "| killed | kills | half-written files left | runs | ended in the same bits | did not go on |",
        "|---|---|---|---|---|---|",
    ]
    keys = ("kills", "left half-written files", "runs", "ended in the same bits", "did not go on")
    return "\n".join([*lines, *(f"| {r['kind']} | {' | '.join(str(r[key]) for key in keys)} |" for r in rows)])


def fuzz(rows: Rows) -> str:
    """What became of hostile inputs, kind by kind, and together."""
    keys = ("inputs", "read", "refused", "crash", "hang", "written outside", "ran code")
    lines = [f"| kind | {' | '.join(keys)} |", "|---|" + "---|" * len(keys)]
    together = {"kind": "together", **{key: sum(r[key] for r in rows) for key in keys}}
    for r in (*rows, together):
        lines.append(f"| {r['kind']} | {' | '.join(_spaced(r[key]) for key in keys)} |")
    return "\n".join(lines)


def readme(rows: Rows) -> str:
    """Four figures of four benchmarks.

    Args:
        rows: of all of them, each with its ``"benchmark"``.
    """
    of = {name: [r for r in rows if r["benchmark"] == name] for name in {r["benchmark"] for r in rows}}
    speed = ", ".join(
        f"{r['ours_over_peer']:.1f} ({r['encoder']})" for r in of["pretrain_throughput"] if r["peer"] == "lightly"
    )
    (ranks,) = (r["seconds"] for r in of["scaling"] if r["axis"] == "ranks")
    runs, same = (sum(r[key] for r in of["faults"]) for key in ("runs", "ended in the same bits"))
    inputs, crashes = (sum(r[key] for r in of["fuzz"]) for key in ("inputs", "crash"))
    return "\n".join(
        [
            "| images a second, over lightly's | time of two ranks on two cores, over one | killed runs that ended in the same "
            "bits | hostile inputs that crashed |",
            "|---|---|---|---|",
            f"| {speed} | {ranks[1] / ranks[0]:.1f} | {same} of {runs} | {crashes} of {_spaced(inputs)} |",
        ]
    )


def _spaced(number: int) -> str:
    return f"{number:,}".replace(",", " ")

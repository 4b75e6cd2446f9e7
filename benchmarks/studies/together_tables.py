"""Tables of the study of all systems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pairs import paired_by_seed, signed
from together_points import ARMS, LONGER, SETS, SYSTEMS


def _values(
    rows: Sequence[Mapping[str, Any]], data: str, arm: str, targets: Sequence[str], when: str
) -> dict[int, float]:
    own = [r for r in rows if r.get("data") == data and r.get("arm") == arm and when in r]
    return {r["seed"]: float(np.mean([r[when][t] for t in targets])) for r in own}


def _mean(values: Mapping[int, float]) -> str:
    return f"{100 * np.mean(list(values.values())):.1f}" if values else "–"


def systems_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Plain in points; what each other arm adds, what UMM adds to each, and controls, over paired seeds."""
    groups = [(data, name, targets) for data, known in SETS.items() for name, targets in known.groups.items()]
    lines = [
        "| points | " + " | ".join(f"{data}: {name}" for data, name, _ in groups) + " |",
        "|---|" + "---|" * len(groups),
    ]
    for control in ("raw pixels", "random encoder"):
        own = [r for r in rows if r.get("control") == control]
        means = [[np.mean([r["accuracy"][t] for t in ts]) for r in own if r["data"] == data] for data, _, ts in groups]
        lines.append(f"| {control} | " + " | ".join(f"{100 * np.mean(m):.1f}" if m else "–" for m in means) + " |")
    plain = [_values(rows, data, "plain", targets, "accuracy") for data, _, targets in groups]
    lines.append("| plain | " + " | ".join(_mean(v) for v in plain) + " |")
    asked = [
        *((f"{arm} − plain", (arm, "accuracy"), ("plain", "accuracy")) for arm in ARMS if arm != "plain"),
        *((f"{arm} + UMM − {arm}", (arm, "after_umm"), (arm, "accuracy")) for arm in SYSTEMS),
        (f"plain + UMM − {LONGER}", ("plain", "after_umm"), (LONGER, "accuracy")),
    ]
    for title, (arm, when), (other, then) in asked:
        cells = [
            signed(paired_by_seed(_values(rows, d, arm, ts, when), _values(rows, d, other, ts, then)))
            for d, _, ts in groups
        ]
        if set(cells) != {"–"}:  # an arm for fusion alone
            lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def fusion_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Attention by sample in points; less each other method, and what an untrained encoder costs, over paired seeds."""
    fused = {(r["data"], r["labels"]) for r in rows if "labels" in r}
    columns = [(data, labels) for data, known in SETS.items() for labels in known.labels if (data, labels) in fused]

    def values(data: str, labels: int, method: str, setting: str = "as given") -> dict[int, float]:
        own = [r for r in rows if r.get("labels") == labels and r["data"] == data]
        return {r["seed"]: r["fused"] for r in own if (r["method"], r["setting"]) == (method, setting)}

    lines = [
        "| points | " + " | ".join(f"{d}, {n} label{'s' * (n > 1)} a class" for d, n in columns) + " |",
        "|---|" + "---|" * len(columns),
    ]
    own = [values(d, n, "sample") for d, n in columns]
    lines.append("| attention by sample | " + " | ".join(_mean(v) for v in own) + " |")
    for other in (
        "best-by-validation",
        "best-by-logme",
        "concatenation-ridge",
        "mean-of-logits",
        "sur",
        "one encoder at equal compute",
    ):
        cells = [signed(paired_by_seed(v, values(d, n, other))) for v, (d, n) in zip(own, columns, strict=True)]
        lines.append(f"| − {other} | " + " | ".join(cells) + " |")
    for method in ("sample", "concatenation-ridge"):
        cells = [
            signed(paired_by_seed(values(d, n, method, "with an untrained encoder"), values(d, n, method)))
            for d, n in columns
        ]
        lines.append(f"| {method}: an untrained encoder added | " + " | ".join(cells) + " |")
    return "\n".join(lines)

"""What is TC² for? The comparison of `metatc2 demo`, written as rows.

    python benchmarks/studies/demo.py
    python benchmarks/studies/demo.py --runs runs/demo    # of a demo that was run

Rows are paired differences of TC² against the plain objective, and against it with VISReg, on every target and on their mean
over seeds; beside them the accuracy of a random encoder and of raw pixels.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from csv_results import FOLDER, Results
from shared import positive, refuse

from metatc2.cli._demo_runs import run_demo
from metatc2.transfer import RANDOM_ENCODER, RAW_PIXELS, read_results

RESULTS = Results(
    FOLDER / "demo.csv",
    {
        **dict.fromkeys(("control", "target", "against"), str),
        **dict.fromkeys(("accuracy", "accuracy_against", "difference", "ci95"), float),
        **dict.fromkeys(("interval", "per_seed", "verdict"), str),
    },
    digits=5,
)


def main() -> None:
    """Run the demo in a temporary folder, or read one, and write what it measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS.path, help="CSV file")
    parser.add_argument("--seeds", type=positive, default=3)
    parser.add_argument("--runs", type=Path, help="folder of a demo that was run, in place of running it")
    arguments = parser.parse_args()
    if arguments.runs:
        rows = measured(arguments.runs)
    else:
        with tempfile.TemporaryDirectory() as folder:
            run_demo(Path(folder), seeds=arguments.seeds)
            rows = measured(Path(folder))
    RESULTS.at(arguments.results).write(rows)


def measured(folder: Path) -> list[dict[str, Any]]:
    """Differences and controls of a finished demo."""
    if not (folder / "demo.json").is_file():
        refuse(f"{folder} holds no finished demo; run: metatc2 demo --folder {folder}")
    rows = [difference(result) for result in json.loads((folder / "demo.json").read_text())]
    result = [row for path in sorted(folder.glob("plain-s*")) for row in read_results(path / "transfer.json")[0]]
    for features in (RANDOM_ENCODER, RAW_PIXELS):
        for target in dict.fromkeys(row.target for row in result):
            own = [row for row in result if (row.features, row.target) == (features, target)]
            values = [row.mean for row in own]
            rows.append({"control": features, "target": target, "accuracy": sum(values) / len(values)})
    return rows


def difference(result: Mapping[str, Any]) -> dict[str, Any]:
    """The row of a comparison of `metatc2 demo`."""
    return {
        "target": result["target"],
        "against": result["b"],
        "accuracy": result["mean_a"],
        "accuracy_against": result["mean_b"],
        "per_seed": " ".join(f"{value:.5g}" for value in result["per_seed"]),
        **{name: result[name] for name in ("difference", "ci95", "interval", "verdict")},
    }


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Accuracy on tasks that disagree, and paired differences of TC² from each control."""
    compared = [r for r in rows if "against" in r]
    over = " and ".join(dict.fromkeys(r["interval"] for r in compared))
    lines = [
        f"| target | raw pixels | random encoder | other | TC² | TC² − other ± 95 % over {over} | by seed | TC² is |",
        "|---|---|---|---|---|---|---|---|",
    ]
    controls = {(r["control"], r["target"]): f"{100 * r['accuracy']:.1f}" for r in rows if "control" in r}
    for r in compared:
        by_seed = ", ".join(f"{100 * float(x):+.1f}" for x in r["per_seed"].split())
        beside = [controls.get((name, r["target"]), "") for name in ("raw pixels", "random encoder")]
        lines.append(
            f"| {r['target']} | {' | '.join(beside)} | {r['against']} {100 * r['accuracy_against']:.1f} | "
            f"{100 * r['accuracy']:.1f} | {100 * r['difference']:+.1f} ± {100 * r['ci95']:.1f} | {by_seed} | {r['verdict']} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()

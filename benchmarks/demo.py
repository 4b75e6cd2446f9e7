"""What is TC² for? The comparison of `metatc2 demo`, written as rows.

    python benchmarks/demo.py --json benchmarks/results/demo.json
    python benchmarks/demo.py --runs runs/demo --json benchmarks/results/demo.json    # of a demo that was run

Rows are paired differences of TC² against the plain objective, and against it with VISReg, on every target and on their mean
over seeds; beside them the accuracy of a random encoder and of raw pixels.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from common import environment, positive, refuse, write

from metatc2.cli._demo_runs import run_demo
from metatc2.transfer import RANDOM_ENCODER, RAW_PIXELS, read_results


def main() -> None:
    """Run the demo in a temporary folder, or read one, and write what it measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where to write the result")
    parser.add_argument("--seeds", type=positive, default=3)
    parser.add_argument("--runs", type=Path, help="folder of a demo that was run, in place of running it")
    arguments = parser.parse_args()
    if arguments.runs:
        rows = measured(arguments.runs)
    else:
        with tempfile.TemporaryDirectory() as folder:
            run_demo(Path(folder), seeds=arguments.seeds)
            rows = measured(Path(folder))
    if arguments.json:
        write(arguments.json, rows)
    else:
        print(json.dumps({"environment": environment(), "rows": rows}, indent=1))


def measured(folder: Path) -> list[dict[str, Any]]:
    """Differences and controls of a finished demo."""
    if not (folder / "demo.json").is_file():
        refuse(f"{folder} holds no finished demo; run: metatc2 demo --folder {folder}")
    rows: list[dict[str, Any]] = json.loads((folder / "demo.json").read_text())
    found = [row for path in sorted(folder.glob("plain-s*")) for row in read_results(path / "transfer.json")[0]]
    for features in (RANDOM_ENCODER, RAW_PIXELS):
        for target in dict.fromkeys(row.target for row in found):
            own = [row for row in found if (row.features, row.target) == (features, target)]
            values = [row.mean for row in own]
            rows.append(
                {
                    "control": features,
                    "target": target,
                    "way": own[0].way,
                    "shot": own[0].shot,
                    "mean": sum(values) / len(values),
                    "values": values,
                }
            )
    return rows


if __name__ == "__main__":
    main()

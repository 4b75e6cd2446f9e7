"""Is calibration worth it in a few minutes? The comparison of `metatc2 demo`, written as rows.

    python benchmarks/glyphs_demo.py --json benchmarks/results/glyphs_demo.json

Rows are paired differences between the demo's methods, on scripts never seen, over seeds; beside them the accuracy of a random
encoder and of raw pixels.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from common import environment, write

from metatc2.demo import run_demo
from metatc2.transfer import read_results


def main() -> None:
    """Run the demo in a temporary folder and write what it measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where to write the result")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run_demo(Path(folder), seeds=arguments.seeds)
        rows = json.loads((Path(folder) / "demo.json").read_text())
        found = [
            row
            for seed in range(arguments.seeds)
            for row in read_results(Path(folder) / f"simclr-none-s{seed}" / "transfer.json")[0]
        ]
    for features in ("random encoder", "raw pixels"):
        for shot in (1, 5):
            means = [row.mean for row in found if row.features == features and row.shot == shot]
            mean = sum(means) / len(means)
            rows.append({"control": features, "way": 20, "shot": shot, "mean": mean, "targets": 4, "values": means})
    if arguments.json:
        write(arguments.json, rows)
    else:
        print(json.dumps({"environment": environment(), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()

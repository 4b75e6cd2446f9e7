"""What each library does in situations that meta-learning code meets: a table, every cell of it run for real.

    python benchmarks/robustness.py --json benchmarks/results/robustness.json

Ours, learn2learn (`MAML`), torchopt (its meta-optimizers) and higher, each in the idiom of its own documentation. Every cell
runs in a fresh process under a time limit. Plain use comes first; where that fails, what the library's documentation offers
for it is tried and named. What the caller would have to write around a library is mentioned and does not count.

* Gradients are compared with central differences of plain in-place training in float64, two tasks, three steps.
* "Installs" is pip into a fresh virtual environment. By default without dependencies, and then every module is compiled and
  none imported. With --site PYTHON=FOLDER, a folder of packages that has torch for that Python, pip installs what is missing
  there and a meta-gradient is taken. learn2learn is installed as its README says.

The interpreters python3.11, python3.12 and python3.13 are looked for on the PATH.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from common import write_or_print
from libraries import LIBRARIES
from situations import SITUATIONS, outcome
from situations.install import PYTHONS, SITE

LIMIT = 900  # seconds for a cell


def cell(situation: str, library: str) -> dict[str, Any]:
    """A row of the results, found out in a fresh process."""
    row = {"situation": situation, "library": library, "version": LIBRARIES[library].version}
    command = [sys.executable, __file__, "--cell", situation, library]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    except subprocess.TimeoutExpired:
        return {**row, "outcome": f"fails: took longer than {LIMIT} s", "passes": False, "detail": ""}
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        return {**row, "outcome": f"fails: the process ended: {last}", "passes": False, "detail": ""}
    return {**row, **json.loads(done.stdout.splitlines()[-1])}


def table(rows: list[dict[str, Any]]) -> str:
    """Situations down, libraries across."""
    libraries = list(dict.fromkeys(r["library"] for r in rows))
    versions = {r["library"]: r["version"] for r in rows}
    heads = [name if name == "ours" else f"{name} {versions[name]}" for name in libraries]
    lines = ["| situation | " + " | ".join(heads) + " |", "|---|" + "---|" * len(libraries)]
    for situation in dict.fromkeys(r["situation"] for r in rows):
        result = {r["library"]: r["outcome"].replace("|", "\\|") for r in rows if r["situation"] == situation}
        lines.append(f"| {situation} | " + " | ".join(result.get(name, "") for name in libraries) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run every cell, or those of ``--only``, and write the rows; exit status 1 if ours fails one (a refusal is none)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [s.name for s in SITUATIONS]
    parser.add_argument("--json", type=Path, help="where to write the result")
    parser.add_argument("--only", nargs="+", choices=names, help="run these; other rows of the file stay")
    parser.add_argument("--site", nargs="+", default=[], metavar="PYTHON=FOLDER", help="packages to install beside")
    parser.add_argument("--cell", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.cell:
        asked = next(s for s in SITUATIONS if s.name == arguments.cell[0])
        print(json.dumps(outcome(asked, arguments.cell[1], LIBRARIES[arguments.cell[1]])))
        return
    if arguments.site:
        os.environ[SITE] = os.pathsep.join(arguments.site)
    wanted = arguments.only or names
    for python in PYTHONS:
        # Else a machine without an interpreter would look like a library that does not install.
        known = subprocess.run([f"python{python}", "--version"], capture_output=True, check=False).returncode == 0
        if f"install on Python {python}" in wanted and not known:
            parser.error(
                f"python{python} is not on the PATH, or does not start; install it, or name situations with --only"
            )
    rows: list[dict[str, Any]] = []
    if arguments.only and arguments.json and arguments.json.exists():
        rows = json.loads(arguments.json.read_text())["rows"]
    for situation in wanted:
        rows = [r for r in rows if r["situation"] != situation]
        for library in LIBRARIES:
            before = time.perf_counter()
            rows.append(cell(situation, library))
            print(f"{time.perf_counter() - before:4.0f} s  {json.dumps(rows[-1])}", flush=True)
    rows.sort(key=lambda r: names.index(r["situation"]))
    write_or_print(arguments.json, rows)
    print(table(rows))
    sys.exit(int(any(r["library"] == "ours" and r["passes"] is False for r in rows)))


if __name__ == "__main__":
    main()

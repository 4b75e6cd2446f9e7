"""Bring rows that a study measured as JSON, before its results were CSV, into its CSV file.

python benchmarks/studies/to_csv.py conflict FILE.json               # also conflict_measures, conflict_few_shot, photographs

Rows of cells and of controls are taken over as they stand, the facts of the machine with them; differences are computed by the
tables. The study then goes on from them: --collect writes the same file.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import conflict_few_shot
import conflict_measures
import conflict_rows
import photographs_rows
from shared import refuse

STUDIES = {
    "conflict": conflict_rows.RESULTS,
    "conflict_measures": conflict_measures.RESULTS,
    "conflict_few_shot": conflict_few_shot.RESULTS,
    "photographs": photographs_rows.RESULTS,
}


def main() -> None:
    """Write the CSV file of a study from a JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("file", type=Path)
    parser.add_argument("--results", type=Path, help="CSV file; that of the study where none is named")
    given = parser.parse_args()
    try:
        found = json.loads(given.file.read_text())
        rows = [row for row in found["rows"] if "control" in row or ("arm" in row and "seed" in row)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        refuse(f"{given.file} holds no results of a study as JSON: {error}")
    results = STUDIES[given.study]
    results.at(given.results or results.path).write(rows, found.get("environment"))


if __name__ == "__main__":
    main()

"""Does calibration help? Objectives × arms × seeds, pre-trained alike and transferred to images never seen.

python benchmarks/studies/evidence.py                                # everything; hours on two cores, resumed when called again
python benchmarks/studies/evidence.py --source glyphs --seeds 1 --objectives simclr --arms plain shared+isotropy
python benchmarks/studies/evidence.py --source glyphs-long --seeds 3 --arms plain shared+isotropy     # four times the steps
python benchmarks/studies/evidence.py --collect                           # only gather what is done into the CSV file

Each cell is a run folder below --runs. Recipes come from the committed search of `recipes.py`; nothing is tuned on a target.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from arguments import choices, study_parser
from cells import Cell, make, mean_over, rows_of, seeds_in
from evidence_cells import ARMS, OBJECTIVES, OURS, SHORT, SOURCES, cell
from evidence_rows import RESULTS
from evidence_tables import draw
from recipes import best

from metatc2.experiment.pretrained import CALIBRATED
from metatc2.transfer import RANDOM_ENCODER, RAW_PIXELS

Key = tuple[str, str, str, int]  # source, objective, arm, seed


def collect(cells: Mapping[Key, Cell]) -> list[dict[str, Any]]:
    """Rows of all cells that are done or diverged, and controls."""
    rows: list[dict[str, Any]] = []
    for (source, objective, arm, seed), one in cells.items():
        row: dict[str, Any] = {"source": source, "objective": objective, "arm": arm, "seed": seed}
        if one.done:
            row |= {"accuracy": _headline(one), "train_seconds": rows_of(one)[0].compute["seconds"]}
            rows.append(row | ({"calibrated": _headline(one, CALIBRATED)} if _has_calibrated(one, arm) else {}))
        elif one.diverged:
            rows.append({**row, "diverged": True})
    return rows + controls(cells)


def _has_calibrated(one: Cell, arm: str) -> bool:
    return arm == OURS and bool(rows_of(one, CALIBRATED))


def _headline(one: Cell, features: str = "encoder") -> float:
    """Mean accuracy over the targets of the headline, one shot."""
    asked = one.evaluations[0]
    return mean_over(rows_of(one, features), asked.targets, asked.way[0], 1)


def controls(cells: Mapping[Key, Cell]) -> list[dict[str, Any]]:
    """Random encoder (mean over seeds) and raw pixels by source."""
    rows: list[dict[str, Any]] = []
    for source in SOURCES:
        # Of one seed every cell has the same.
        by_seed = {seed: one for (of, _, _, seed), one in cells.items() if of == source and one.done}
        for kind in (RANDOM_ENCODER, RAW_PIXELS) if by_seed else ():
            mean = fmean(_headline(one, kind) for one in by_seed.values())
            rows.append({"control": kind, "source": source, "accuracy": mean})
    return rows


def main() -> None:
    """Make the cells that are asked for, and gather all that are done."""
    parser = study_parser(__doc__, runs="runs/evidence", results=RESULTS, seeds=8)
    choices(parser, "--source", SOURCES, SHORT)
    choices(parser, "--objectives", OBJECTIVES)
    choices(parser, "--arms", ARMS)
    parser.add_argument("--figure", type=Path, help="draw the differences into this file")
    given = parser.parse_args()
    recipes = best()

    def keyed(
        sources: Iterable[str], objectives: Iterable[str], arms: Iterable[str], seeds: Sequence[int]
    ) -> dict[Key, Cell]:
        return {
            (source, o, arm, seed): cell(given.runs, source, o, arm, seed, recipes[o])
            for source in sources
            for seed in seeds
            for o in objectives
            for arm in arms
        }

    if not given.collect:
        make(keyed(given.source, given.objectives, given.arms, range(given.seeds)).values(), workers=given.workers)
    results = RESULTS.at(given.results)
    results.write(collect(keyed(SOURCES, OBJECTIVES, ARMS, seeds_in(given.runs))))
    if given.figure:
        draw(results.read(), given.figure)


if __name__ == "__main__":
    main()

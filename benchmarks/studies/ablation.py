"""Every switch of shared TC² + isotropy, one at a time, on held-out classes of the source and on no target of the evidence.

python benchmarks/studies/ablation.py --figures benchmarks/studies/results/ablation     # hours on two cores; resumes
python benchmarks/studies/ablation.py --switches gamma form --objectives simclr --seeds 2
python benchmarks/studies/ablation.py --switches isotropy --source shapes       # held-out shapes and textures, not letters
python benchmarks/studies/ablation.py --collect

Writes one row a source, objective, switch, value and seed of all that is done; tables pair them with the default by seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ablation_switches import SWITCHES, C
from ablation_tables import DEFAULT, RESULTS, draw
from arguments import choices, study_parser
from cells import Cell, Evaluation, make, mean_over, rows_of, seeds_in
from evidence_cells import OBJECTIVES, OURS
from evidence_cells import cell as base_cell
from recipes import TARGET, best

EVALUATIONS = {
    "glyphs": Evaluation((TARGET,), (20,)),
    "shapes": Evaluation(("shapes:meta-validation",), (20,)),
    "digits": Evaluation(("digits:meta-validation",), (2,)),
}


def cell(
    folder: Path, source: str, objective: str, settings: tuple[str, ...], seed: int, recipe: tuple[str, ...]
) -> Cell:
    """One run: the default where nothing is set."""
    short = "-".join(word.removeprefix(C).replace("=", "-") for word in settings) or DEFAULT
    base = base_cell(folder, source, objective, OURS, seed, recipe)
    path = folder / f"{source}-{objective}-{short}-s{seed}"
    return Cell(path, base.task, (*base.settings, *settings), (EVALUATIONS[source],))


def settings_of(switches: Sequence[str]) -> Iterator[tuple[str, str | None, tuple[str, ...]]]:
    """Switch, value and settings of the default and of all that is tried in its place."""
    yield DEFAULT, None, ()
    for switch in switches:
        for value, settings in SWITCHES[switch][2].items():
            yield switch, value, settings


def accuracy(one: Cell) -> float:
    """Mean over the targets, one shot."""
    asked = one.evaluations[0]
    return mean_over(rows_of(one), asked.targets, asked.way[0], 1)


def main() -> None:
    """Make the cells that are asked for, gather all that are done, draw."""
    parser = study_parser(__doc__, runs="runs/ablation", results=RESULTS, seeds=3)
    choices(parser, "--switches", SWITCHES)
    parser.add_argument("--source", choices=EVALUATIONS, default="glyphs")
    choices(parser, "--objectives", OBJECTIVES, ["simclr", "barlow"])
    parser.add_argument("--figures", type=Path, help="folder for one figure a switch")
    given = parser.parse_args()
    recipes = best()

    def made(source: str, objective: str, settings: tuple[str, ...], seed: int) -> Cell:
        return cell(given.runs, source, objective, settings, seed, recipes[objective])

    if not given.collect:
        tried = [settings for _, _, settings in settings_of(given.switches)]
        asked = [made(given.source, o, v, s) for s in range(given.seeds) for v in tried for o in given.objectives]
        make({one.path: one for one in asked}.values(), workers=given.workers)
    rows: list[dict[str, Any]] = [
        {"source": source, "objective": o, "switch": switch, "value": value, "seed": seed, "accuracy": accuracy(one)}
        for switch, value, settings in settings_of(list(SWITCHES))
        for source in EVALUATIONS
        for o in OBJECTIVES
        for seed in seeds_in(given.runs)
        if (one := made(source, o, settings, seed)).done
    ]
    results = RESULTS.at(given.results)
    results.write(rows)
    if given.figures:
        draw(results.read(), given.figures)


if __name__ == "__main__":
    main()

"""Where tasks really conflict: TC² told nothing, beside controls that are told and controls that are not.

python benchmarks/studies/conflict.py --part main --seeds 5         # levels × arms with SimCLR; resumes
python benchmarks/studies/conflict.py --part objectives --seeds 3   # the one-more level under other objectives
python benchmarks/studies/conflict.py --part capacity --seeds 3     # widths of the encoder, numbers of factors
python benchmarks/studies/conflict.py --part per-sample --seeds 3   # levels in which a factor counts for half of the shapes
python benchmarks/studies/conflict.py --part rates                  # the search of learning rates, on validation images
python benchmarks/studies/conflict.py --part weights                # that of regularizers' weights, alone and beside TC²
python benchmarks/studies/conflict.py --part tuned --seeds 5        # each regularizer at the weight that was best
python benchmarks/studies/conflict.py --collect --figure benchmarks/studies/results/conflict.png

Each cell is a run folder below --runs and one JSON file beside it: what linear probes read of nine known factors in the
features of the plain encoder. Probes are fit on images of combinations of shape and texture that pre-training has not seen,
and tested on further ones. Learning rates of the main arms, the inner rate of TC² and the weights of regularizers were
searched with a seed of their own, where test images take no part; all other arms, objectives and widths take what was found
for SimCLR or the first rate. A study goes on from the rows in --results that were measured with today's settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import torch
from arguments import choices, study_parser
from cells import Cell, in_parallel, prepare_worker
from conflict_figure import draw
from conflict_points import ARMS, AT, LEVELS, PARTS, RATES, REGULARIZERS, WIDTH, Point, points
from conflict_rows import RESULTS, searched, tuned_arms
from kept import keep_controls, measured, missing, read_controls, restore, row
from torch import nn

from metatc2.data.sources.shapes.dataset import load_shapes
from metatc2.diagnostics import factor_matrix
from metatc2.experiment.build import build_fresh_encoder

IMAGES = 2500  # images that probes are fit on, and tested on
PROBES = 7  # seed of the probes' own draws


def measure(cell: Cell, path: Path) -> str:
    """Train a cell and probe it; its row to `path`."""
    return measured(
        cell,
        path,
        lambda run: probed(run.encoder),
        lambda result: f"mean of nine factors {100 * result['test']['mean']:.1f}",
    )


def probed(encoder: nn.Module) -> dict[str, Any]:
    """What linear probes read of the factors in an encoder's features, for the search and for the test."""
    store = load_shapes(image_size=28)
    result = {}
    # Both parts are apart from pre-training; the search looks at the first alone.
    first, last = (store.rows(part)[:IMAGES] for part in ("validation", "test"))
    half = len(first) // 2
    for name, fit, tested in (("validation", first[:half], first[half:]), ("test", first, last)):
        probes = factor_matrix(encoder, store, fit, tested, generator=torch.Generator().manual_seed(PROBES))
        result[name] = {
            "mean": probes.mean,
            "factors": probes.values(),
            "selectivity": {factor: p.selectivity for factor, p in probes.factors.items()},
        }
    return result


def untrained(folder: Path, seeds: int) -> None:
    """The same of encoders before any step, and of pixels; to ``controls.json``."""
    prepare_worker()
    rows: list[dict[str, Any]] = [{"control": "raw pixels", "seed": 0, **probed(nn.Flatten())}]
    for seed in range(seeds):
        encoder = build_fresh_encoder(
            Point("one-more", "simclr", "one head", WIDTH, seed, RATES[0]).cell(folder).config, 3, 28
        )
        rows.append({"control": "random encoder", "seed": seed, **probed(encoder)})
    keep_controls(folder, rows)


def gather(folder: Path) -> list[dict[str, Any]]:
    """Rows of all cells that are done, whatever was asked for."""
    regularized = [arm for arm in ARMS if "weight" in arm or arm in REGULARIZERS]
    # Some parts ask for the first of the tuned arms that is alone, which may have been any.
    orders = [[arm, *regularized] for arm in regularized if not arm.startswith("TC²")]
    rates = ({}, *(dict.fromkeys(ARMS, lr) for lr in RATES))
    asked = (points(part, 10, *chosen) for part in PARTS for chosen in product(rates, orders))
    every = dict.fromkeys(point for several in asked for point in several)
    rows = [result for point in every if (result := row(point, AT, point.cell(folder)))]
    return rows + read_controls(folder)


def cell_of(row: Mapping[str, Any], folder: Path) -> Cell | None:
    """The cell of a row; None for one of an arm that is no more."""
    return Point(*(row[key] for key in AT)).cell(folder) if row["arm"] in ARMS else None


def main() -> None:
    """Make the cells that are asked for, gather all that are done, draw."""
    parser = study_parser(__doc__, runs="runs/conflict", results=RESULTS, seeds=5)
    parser.add_argument("--part", choices=("controls", *PARTS), default="main")
    choices(parser, "--levels", LEVELS)
    choices(parser, "--arms", ARMS)
    parser.add_argument("--figure", type=Path, help="PNG file of the means by level")
    given = parser.parse_args()
    results = RESULTS.at(given.results)
    restore(results, given.runs, lambda row: cell_of(row, given.runs))
    if given.part == "controls" and not given.collect:
        untrained(given.runs, given.seeds)
    elif not given.collect:
        result = gather(given.runs)
        asked = [
            point.cell(given.runs)
            for point in points(given.part, given.seeds, searched(result), tuned_arms(result))
            if point.level in given.levels and point.arm in given.arms
        ]
        in_parallel(measure, missing(asked), workers=given.workers)
    results.write(gather(given.runs))
    if given.figure:
        draw(results.read(), given.figure)


if __name__ == "__main__":
    main()

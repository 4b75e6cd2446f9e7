"""Photographs: what calibrating tasks is worth where no factor is known. CIFAR-10 to learn from, others to transfer to.

python benchmarks/studies/photographs.py --data FOLDER --part search        # the plain recipe, on held-out training images
python benchmarks/studies/photographs.py --data FOLDER --part main --seeds 3  # tasks that differ by nothing and views; resumes
python benchmarks/studies/photographs.py --collect --figure benchmarks/studies/results/photographs.png

FOLDER holds ``cifar10/{train,test}/CLASS``, ``caltech101/CLASS`` and ``pacs/DOMAIN/CLASS``, unpacked. Figures are of JPEG at
32 px. Pre-training sees no label; classes that CIFAR-10 has are left out of Caltech-101 and PACS, and rows of CIFAR-10 itself
are marked as seen. Three further targets need what common views throw away: how far an image was turned, how its hue was
shifted, and in which of PACS' four styles it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from arguments import study_parser
from cells import Cell, in_parallel, prepare_worker
from kept import keep_controls, measured, missing, read_controls, restore, row
from photographs_data import prepare
from photographs_figure import draw
from photographs_points import ARMS, AT, PARTS, SEARCH, SIZE, TARGETS, Point, points
from photographs_rows import RESULTS, best, tuned_arms
from torch import nn

from metatc2.data import load
from metatc2.diagnostics import probe_factors
from metatc2.experiment.build import build_fresh_encoder
from metatc2.transfer import extract, few_shot, knn, sample_episodes
from metatc2.transfer.domain_episodes import leave_one_domain_out_few_shot


def measure(cell: Cell, path: Path) -> str:
    """Train a cell and transfer it; its row to `path`."""
    data = Path(cell.config.data.source.removeprefix("npz:")).parent
    return measured(
        cell,
        path,
        lambda run: {"accuracy": transferred(run.encoder, data)},
        lambda result: ", ".join(f"{name} {100 * value:.1f}" for name, value in result["accuracy"].items()),
    )


def transferred(encoder: nn.Module, data: Path) -> dict[str, float]:
    """Accuracy on every target, of frozen features.

    Args:
        encoder: images ``(N, 3, 32, 32)`` in [0, 1] to ``(N, d)``.
        data: folder of the archives.
    """
    result = {}
    for target, (protocol, _) in {**TARGETS, "held-out": ("knn", "")}.items():
        store = load(f"npz:{data / ('pacs' if target == 'unseen style' else target)}.npz")
        features = extract(encoder, store.images)
        if target == "unseen style":
            styles = torch.from_numpy(np.load(data / "pacs-styles.npy"))
            result[target] = leave_one_domain_out_few_shot(features, store.labels, styles, way=5, shot=5, seed=0).mean
            continue
        if protocol == "few-shot":
            drawn = sample_episodes(
                store.labels, way=5, shot=5, query=15, episodes=600, generator=torch.Generator().manual_seed(0)
            )
            result[target] = float(few_shot(features, drawn, "cosine").mean())
            continue
        train, test = store.rows("train"), store.rows("test")
        if protocol == "knn":
            answers = knn(features[train], store.labels[train], features[test], store.labels[test], k=20)
            result[target] = float(answers.double().mean())
            continue
        probes = probe_factors(
            features[train],
            store.labels[train, None].double(),
            features[test],
            store.labels[test, None].double(),
            (target,),
            ("categorical",),
            generator=torch.Generator().manual_seed(0),
        )
        result[target] = probes.mean
    return result


def untrained(folder: Path, data: Path, seeds: int) -> None:
    """The same of pixels and of encoders before any step; to ``controls.json``."""
    prepare_worker()
    rows: list[dict[str, Any]] = [{"control": "raw pixels", "seed": 0, "accuracy": transferred(nn.Flatten(), data)}]
    for seed in range(seeds):
        encoder = build_fresh_encoder(Point("simclr", "plain", seed).cell(folder, data).config, 3, SIZE)
        rows.append({"control": "random encoder", "seed": seed, "accuracy": transferred(encoder, data)})
    keep_controls(folder, rows)


def gather(folder: Path, data: Path) -> list[dict[str, Any]]:
    """Rows of all cells that are done."""
    every = points("search", 1, SEARCH[0])
    for recipe in SEARCH:
        every += [point for part in PARTS[2:] for point in points(part, 10, recipe, tuple(ARMS))]
    rows = [result for point in every if (result := row(point, AT, point.cell(folder, data)))]
    return rows + read_controls(folder)


def cell_of(row: Mapping[str, Any], folder: Path, data: Path) -> Cell | None:
    """The cell of a row; None for one of an arm that is no more."""
    return Point(*(row[key] for key in AT)).cell(folder, data) if row["arm"] in ARMS else None


def main() -> None:
    """Make the cells that are asked for, gather all that are done, draw."""
    parser = study_parser(__doc__, runs="runs/photographs", results=RESULTS, seeds=3)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of cifar10, caltech101 and pacs")
    parser.add_argument("--part", choices=PARTS, default="main")
    parser.add_argument("--figure", type=Path, help="PNG file")
    given = parser.parse_args()
    results, made = RESULTS.at(given.results), (given.runs / "archives").resolve()
    restore(results, given.runs, lambda row: cell_of(row, given.runs, made))
    if not given.collect:
        prepare(given.data, made)
        if given.part == "controls":
            untrained(given.runs, made, given.seeds)
        result = gather(given.runs, made)
        asked = [
            point.cell(given.runs, made) for point in points(given.part, given.seeds, best(result), tuned_arms(result))
        ]
        in_parallel(measure, missing(asked), workers=given.workers)
    results.write(gather(given.runs, made))
    if given.figure:
        draw(results.read(), given.figure)


if __name__ == "__main__":
    main()

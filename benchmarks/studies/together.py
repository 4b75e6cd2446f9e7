"""All systems on the same data: plain, TC², conditioned, both, each followed by UMM or not, pretexts, and all of them fused.

python benchmarks/studies/together.py --data FOLDER --seeds 3            # resumes
python benchmarks/studies/together.py --collect

Letters, rendered objects and photographs (FOLDER is that of `photographs.py`); Conv-4 of width 32, SimCLR, one learning rate
for all arms of a set, searched for none of them. Arms are trained for as many steps; UMM adds steps of its own, so that plain
training of twice the steps, which takes longer, stands beside it. Then `metatc2 fuse` uses six encoders of a seed on one target
with few labels.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from arguments import choices, study_parser
from cells import Cell, identity, in_parallel, prepare_worker, trained_run
from conflict import probed
from csv_results import rounded
from kept import keep_controls, measured, missing, read_controls, restore, row
from photographs import transferred
from photographs_data import prepare
from photographs_points import SIZE
from photographs_points import TARGETS as PHOTOGRAPHS
from together_points import (
    ARMS,
    AS_SIX,
    AT,
    DRAWS,
    FUSED,
    RESULTS,
    SCRIPTS,
    SETS,
    SPLIT,
    SYSTEMS,
    UMM_STEPS,
    Point,
    points,
)
from torch import nn

from metatc2.data import load
from metatc2.experiment import umm
from metatc2.experiment.build import build_fresh_encoder
from metatc2.experiment.fuse import fuse
from metatc2.experiment.run import Run, load_run
from metatc2.io.files import write_atomically
from metatc2.transfer import FewShot, evaluate, expand_targets


def told(data: str, encoder: nn.Module, archives: Path) -> dict[str, float]:
    """Accuracy on every target of a set, of frozen features."""
    if data == "objects":
        factors = probed(encoder)["test"]["factors"]
        return {name: factors[name] for name in SETS[data].targets}
    if data == "photographs":
        return {name: value for name, value in transferred(encoder, archives).items() if name in PHOTOGRAPHS}
    letters, digits = (load(source, image_size=28) for source in ("glyphs", "digits"))
    targets = [t for script in SCRIPTS for t in expand_targets(letters, script)] + expand_targets(digits, "all")
    few_shot = FewShot(ways=(5,), shots=(5,), episodes=600, query=5, heads=("cosine",))
    rows, _ = evaluate({"encoder": encoder}, targets, protocols=[few_shot])
    means = {r.target.removeprefix("glyphs:").removesuffix(":all"): r.mean for r in rows if r.features == "encoder"}
    return {name: means[name] for name in SETS[data].targets}


def measure(cell: Cell, path: Path) -> str:
    """Train a cell, transfer it, tune its late part by UMM where it is a system, and transfer that; its row to `path`."""
    data = cell.path.name.partition("-")[0]
    archives = cell.path.parent / "archives"

    def both(run: Run) -> Mapping[str, Any]:
        result: dict[str, Any] = {"accuracy": told(data, run.encoder, archives)}
        if any(
            Point(data, arm, run.config.trainer.seed).cell(cell.path.parent, archives).path == cell.path
            for arm in SYSTEMS
        ):
            out, began = Path(f"{cell.path}-umm"), time.perf_counter()
            made = (
                load_run(out)
                if out.exists()
                else umm.run(run.path, split=SPLIT, mode="exact", steps=UMM_STEPS, out=out)
            )
            result |= {"umm_seconds": time.perf_counter() - began, "after_umm": told(data, made.encoder, archives)}
        return result

    return measured(cell, path, both, lambda result: str(rounded(result["accuracy"])))


def fused_cells(folder: Path, archives: Path, data: str, seed: int) -> dict[str, Cell]:
    """The runs whose encoders are fused, by arm, and last the one that had as many steps as these together."""
    arms = ("plain", "TC²", "conditioned", *SETS[data].pretexts, AS_SIX)
    return {arm: Point(data, arm, seed).cell(folder / "fused", archives, FUSED) for arm in arms}


def fused_stamp(cells: Mapping[str, Cell], data: str) -> list[Any]:
    """What makes the fusion of runs another one."""
    return [*(identity(cell.config) for cell in cells.values()), list(SETS[data].labels), DRAWS]


def read_fused(folder: Path, archives: Path, data: str, seed: int) -> list[dict[str, Any]] | None:
    """Rows of the fusion of a set and seed; None where it was not made, or of runs with other settings."""
    file = folder / f"fused-{data}-s{seed}.json"
    if not file.exists():
        return None
    result = json.loads(file.read_text())
    rows: list[dict[str, Any]] = result["rows"]
    return rows if result["stamp"] == fused_stamp(fused_cells(folder, archives, data, seed), data) else None


def fused(folder: Path, archives: Path, data: str, seed: int) -> None:
    """What `metatc2 fuse` makes of the encoders of a set and seed; one JSON file."""
    known, cells = SETS[data], fused_cells(folder, archives, data, seed)
    if read_fused(folder, archives, data, seed) is not None:
        return
    prepare_worker()
    for cell in cells.values():
        print(f"{cell.path}: {trained_run(cell).seconds:.0f} s", flush=True)
    *several, alone = (str(cell.path) for cell in cells.values())
    result = fuse(
        several,
        [known.fused.format(data=archives)],
        labels_per_class=known.labels,
        draws=DRAWS,
        attentions=("sample",),
        baselines=("best-by-validation", "best-by-logme", "concatenation-ridge", "mean-of-logits", "sur"),
        equal_compute=alone,
        allow_seen=True,
    )
    short = {str(cell.path): arm for arm, cell in cells.items()}
    rows = []
    for r in result.rows:
        method = r.method
        for name, arm in short.items():
            method = method.replace(name, arm)
        rows.append({"labels": r.labels_per_class, "method": method, "setting": r.setting, "fused": r.mean})
    print(f"fused {data}, seed {seed}", flush=True)
    kept = folder / f"fused-{data}-s{seed}.json"
    write_atomically(kept, json.dumps({"stamp": fused_stamp(cells, data), "rows": rows}).encode())


def untrained(folder: Path, archives: Path, seeds: int, data: Sequence[str]) -> None:
    """The same of encoders before any step, and of pixels."""
    prepare_worker()
    rows: list[dict[str, Any]] = []
    for name in data:
        pixels = told(name, nn.Flatten(), archives)
        rows.append({"control": "raw pixels", "data": name, "seed": 0, "accuracy": pixels})
        for seed in range(seeds):
            config = Point(name, "plain", seed).cell(folder, archives).config
            encoder = build_fresh_encoder(config, 1 if name == "letters" else 3, SIZE if name == "photographs" else 28)
            rows.append(
                {"control": "random encoder", "data": name, "seed": seed, "accuracy": told(name, encoder, archives)}
            )
    keep_controls(folder, rows)


def gather(folder: Path, archives: Path) -> list[dict[str, Any]]:
    """Rows of all cells that are done, of fusion and of the controls."""
    rows = [r for point in points(10, tuple(SETS)) if (r := row(point, AT, point.cell(folder, archives)))]
    for data in SETS:
        for seed in range(10):
            made = read_fused(folder, archives, data, seed) or []
            rows += [{"data": data, "seed": seed, **rounded(r)} for r in made]
    return rows + read_controls(folder)


def main() -> None:
    """Make the cells that are asked for, gather all that are done."""
    parser = study_parser(__doc__, runs="runs/together", results=RESULTS, seeds=3)
    choices(parser, "--parts", ("systems", "fusion"))
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of cifar10, caltech101 and pacs")
    choices(parser, "--sets", SETS)
    given = parser.parse_args()
    results, archives = RESULTS.at(given.results), (given.runs / "archives").resolve()

    def cell_of(r: Mapping[str, Any]) -> Cell | None:
        return Point(*(r[key] for key in AT)).cell(given.runs, archives) if r["arm"] in ARMS else None

    restore(results, given.runs, cell_of)
    if not given.collect:
        if "photographs" in given.sets:
            prepare(given.data, archives)
        # A seed at a time, so that what is cut has whole ones; last what takes longest.
        for seed in range(given.seeds) if "systems" in given.parts else ():
            asked = [point for point in points(seed + 1, given.sets) if point.seed == seed]
            in_parallel(measure, missing(point.cell(given.runs, archives) for point in asked), workers=given.workers)
        if "systems" in given.parts:
            untrained(given.runs, archives, given.seeds, given.sets)
        for seed in range(given.seeds) if "fusion" in given.parts else ():
            for data in given.sets:
                fused(given.runs, archives, data, seed)
    results.write(gather(given.runs, archives))


if __name__ == "__main__":
    main()

"""All systems on the same data: plain, TC², conditioned, both, each followed by UMM or not, pretexts, and all of them fused.

python benchmarks/studies/together.py --data FOLDER --seeds 3            # resumes
python benchmarks/studies/together.py --collect

Letters, rendered objects and photographs (FOLDER is that of `photographs.py`); Conv-4 of width 32, SimCLR, one learning rate
for all arms of a set, searched for none of them. Arms are trained for as many steps; UMM adds steps of its own, so that plain
training of twice the steps stands beside it. Then `metatc2 fuse` uses six encoders of a seed on one target with few labels.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from arguments import choices, study_parser
from cells import Cell, identity, in_parallel, prepare_worker
from conflict import probed
from csv_results import FOLDER, Results, rounded
from kept import keep_controls, measured, missing, read_controls, restore, row
from pairs import paired_by_seed, signed
from photographs import transferred
from photographs_data import prepare
from photographs_points import SIZE
from photographs_points import TARGETS as PHOTOGRAPHS
from torch import nn

from metatc2.data import load
from metatc2.experiment import umm
from metatc2.experiment.build import build_fresh_encoder
from metatc2.experiment.fuse import fuse
from metatc2.experiment.run import Run, load_run
from metatc2.io.files import write_atomically
from metatc2.transfer import FewShot, evaluate, expand_targets

STEPS, UMM_STEPS, SPLIT = 300, 30, "blocks.1"
LABELS, DRAWS = (1, 10), 20
SCRIPTS = ("greek", "cyrillic", "georgian", "armenian")


@dataclass(frozen=True)
class Data:
    """What is learned from, and what encoders are asked.

    Args:
        task: task file.
        settings: keys of all arms.
        targets: what is told of it, by name.
        groups: means over targets: what all methods shall keep, and what views throw away.
        fused: target of the fusion; None where there is none.
        pretexts: objectives that are fused beside the systems.
        still: keys of the pretext rotation, where the views' own turns would be its answers.
    """

    task: str
    settings: tuple[str, ...]
    targets: tuple[str, ...]
    groups: Mapping[str, tuple[str, ...]]
    fused: str | None
    pretexts: tuple[str, ...]
    still: tuple[str, ...] = ()


SETS: dict[str, Data] = {
    "letters": Data(
        "glyphs",
        ("episode.batch=64",),
        (*SCRIPTS, "digits"),
        {"other scripts": SCRIPTS, "digits": ("digits",)},
        None,
        ("rotation", "jigsaw", "relative-position"),
    ),
    "objects": Data(
        "shapes",
        ("data.image_size=28", "episode.batch=64"),
        ("shape", "texture", "hue", "orientation"),
        {"shape and texture": ("shape", "texture"), "hue and orientation": ("hue", "orientation")},
        "shapes:hue:test",
        ("rotation", "jigsaw", "colorization"),
        ("views.rotation=0",),
    ),
    "photographs": Data(
        "cifar10",
        (
            "data.split=train",
            f"data.image_size={SIZE}",
            "episode.batch=128",
            "trainer.optimizer=adamw",
            "trainer.weight_decay=1e-4",
            "trainer.lr=0.004",
            "views.rotation=30",
        ),
        tuple(PHOTOGRAPHS),
        {
            "usual targets": ("cifar10", "caltech101", "pacs", "unseen style"),
            "what views throw away": ("rotation", "hue", "style"),
        },
        "npz:{data}/cifar10.npz",
        ("rotation", "jigsaw", "colorization"),
    ),
}
SYSTEMS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "TC²": ("calibration.name=tc2", "calibration.weights=linear"),
    "conditioned": ("condition.name=concatenate",),
    "TC², conditioned": ("calibration.name=tc2", "calibration.weights=linear", "condition.name=concatenate"),
}
LONGER = "plain, twice the steps"
# Colors are what it is asked, so its views keep them.
COLORS = ("views.jitter=0", "views.grayscale=0")
PRETEXTS = ("rotation", "jigsaw", "relative-position", "colorization")
ARMS: dict[str, tuple[str, ...]] = {
    **SYSTEMS,
    LONGER: (f"trainer.steps={2 * STEPS}",),
    **{name: (f"objective.name={name}", *(COLORS if name == "colorization" else ())) for name in PRETEXTS},
}
_NAMES = tuple(dict.fromkeys(target for data in SETS.values() for target in data.targets))
AT = ("data", "arm", "seed")
RESULTS = Results(
    FOLDER / "together.csv",
    {
        **dict.fromkeys(("control", "data", "arm"), str),
        "seed": int,
        "identity": str,
        "diverged": bool,
        **dict.fromkeys(("seconds", "umm_seconds"), float),
        **{f"{when}.{target}": float for when in ("accuracy", "after_umm") for target in _NAMES},
        # Of fusion.
        "labels": int,
        **dict.fromkeys(("method", "setting"), str),
        "fused": float,
    },
)


@dataclass(frozen=True)
class Point:
    """Where in the study a cell stands."""

    data: str
    arm: str
    seed: int

    def cell(self, folder: Path, archives: Path) -> Cell:
        """Its run."""
        known = SETS[self.data]
        learned = (f"data.source=npz:{archives / 'learn.npz'}",) if self.data == "photographs" else ()
        settings = (
            *learned,
            *known.settings,
            "encoder.name=conv4",
            "encoder.width=32",
            "episode.tasks=4",
            f"trainer.steps={STEPS}",
            "calibration.name=none",
            f"trainer.seed={self.seed}",
        )
        if self.arm not in PRETEXTS:
            settings = (*settings, "objective.temperature=0.2")
        if self.arm == "rotation":
            settings = (*settings, *known.still)
        own = [key.partition("=")[0] for key in ARMS[self.arm]]
        settings = (*(s for s in settings if s.partition("=")[0] not in own), *ARMS[self.arm])
        name = f"{self.data}-{self.arm.replace(', ', '-').replace(' ', '-').replace('²', '2')}-s{self.seed}"
        return Cell(folder / name, known.task, settings, ())


def points(seeds: int, data: Sequence[str]) -> list[Point]:
    """Seed by seed."""
    return [
        Point(name, arm, seed)
        for seed in range(seeds)
        for name in data
        for arm in (*SYSTEMS, LONGER, *SETS[name].pretexts)
    ]


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
        found: dict[str, Any] = {"accuracy": told(data, run.encoder, archives)}
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
            found |= {"umm_seconds": time.perf_counter() - began, "after_umm": told(data, made.encoder, archives)}
        return found

    return measured(cell, path, both, lambda found: str(rounded(found["accuracy"])))


def fused(folder: Path, archives: Path, data: str, seed: int) -> None:
    """What `metatc2 fuse` makes of the encoders of a set and seed; one JSON file."""
    known, prefix = SETS[data], folder / f"fused-{data}-s{seed}.json"
    assert known.fused is not None
    cells = {
        arm: Point(data, arm, seed).cell(folder, archives) for arm in ("plain", "TC²", "conditioned", *known.pretexts)
    }
    stamp = [identity(cell.config) for cell in cells.values()]
    if prefix.exists() and json.loads(prefix.read_text())["identities"] == stamp:
        return
    prepare_worker()
    longer = Point(data, LONGER, seed).cell(folder, archives).path
    found = fuse(
        [str(cell.path) for cell in cells.values()],
        [known.fused.format(data=archives)],
        labels_per_class=LABELS,
        draws=DRAWS,
        attentions=("sample",),
        baselines=("best-by-validation", "best-by-logme", "concatenation-ridge", "mean-of-logits", "sur"),
        equal_compute=str(longer),
        allow_seen=True,
    )
    short = {str(cell.path): arm for arm, cell in cells.items()}
    rows = []
    for r in found.rows:
        method = r.method
        for name, arm in short.items():
            method = method.replace(name, arm)
        rows.append({"labels": r.labels_per_class, "method": method, "setting": r.setting, "fused": r.mean})
    print(f"fused {data}, seed {seed}", flush=True)
    write_atomically(prefix, json.dumps({"identities": stamp, "rows": rows}).encode())


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
            file = folder / f"fused-{data}-s{seed}.json"
            if file.exists():
                rows += [{"data": data, "seed": seed, **rounded(r)} for r in json.loads(file.read_text())["rows"]]
    return rows + read_controls(folder)


def _values(
    rows: Sequence[Mapping[str, Any]], data: str, arm: str, targets: Sequence[str], when: str
) -> dict[int, float]:
    own = [r for r in rows if r.get("data") == data and r.get("arm") == arm and when in r]
    return {r["seed"]: float(np.mean([r[when][t] for t in targets])) for r in own}


def _mean(values: Mapping[int, float]) -> str:
    return f"{100 * np.mean(list(values.values())):.1f}" if values else "–"


def systems_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Plain in points; what each other arm adds, what UMM adds to each, and controls, over paired seeds."""
    groups = [(data, name, targets) for data, known in SETS.items() for name, targets in known.groups.items()]
    lines = [
        "| points | " + " | ".join(f"{data}: {name}" for data, name, _ in groups) + " |",
        "|---|" + "---|" * len(groups),
    ]
    for control in ("raw pixels", "random encoder"):
        own = [r for r in rows if r.get("control") == control]
        means = [[np.mean([r["accuracy"][t] for t in ts]) for r in own if r["data"] == data] for data, _, ts in groups]
        lines.append(f"| {control} | " + " | ".join(f"{100 * np.mean(m):.1f}" if m else "–" for m in means) + " |")
    plain = [_values(rows, data, "plain", targets, "accuracy") for data, _, targets in groups]
    lines.append("| plain | " + " | ".join(_mean(v) for v in plain) + " |")
    asked = [
        *((f"{arm} − plain", (arm, "accuracy"), ("plain", "accuracy")) for arm in ARMS if arm != "plain"),
        *((f"{arm} + UMM − {arm}", (arm, "after_umm"), (arm, "accuracy")) for arm in SYSTEMS),
        (f"plain + UMM − {LONGER}", ("plain", "after_umm"), (LONGER, "accuracy")),
    ]
    for title, (arm, when), (other, then) in asked:
        cells = [
            signed(paired_by_seed(_values(rows, d, arm, ts, when), _values(rows, d, other, ts, then)))
            for d, _, ts in groups
        ]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def fusion_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Attention by sample in points; less each other method, and what an untrained encoder costs, over paired seeds."""
    columns = [(data, labels) for data in SETS if SETS[data].fused is not None for labels in LABELS]

    def values(data: str, labels: int, method: str, setting: str = "as given") -> dict[int, float]:
        own = [r for r in rows if r.get("labels") == labels and r["data"] == data]
        return {r["seed"]: r["fused"] for r in own if (r["method"], r["setting"]) == (method, setting)}

    lines = [
        "| points | " + " | ".join(f"{d}, {n} label{'s' * (n > 1)} a class" for d, n in columns) + " |",
        "|---|" + "---|" * len(columns),
    ]
    own = [values(d, n, "sample") for d, n in columns]
    lines.append("| attention by sample | " + " | ".join(_mean(v) for v in own) + " |")
    for other in (
        "best-by-validation",
        "best-by-logme",
        "concatenation-ridge",
        "mean-of-logits",
        "sur",
        "one encoder at equal compute",
    ):
        cells = [signed(paired_by_seed(v, values(d, n, other))) for v, (d, n) in zip(own, columns, strict=True)]
        lines.append(f"| − {other} | " + " | ".join(cells) + " |")
    for method in ("sample", "concatenation-ridge"):
        cells = [
            signed(paired_by_seed(values(d, n, method, "with an untrained encoder"), values(d, n, method)))
            for d, n in columns
        ]
        lines.append(f"| {method}: an untrained encoder added | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Make the cells that are asked for, gather all that are done."""
    parser = study_parser(__doc__, runs="runs/together", results=RESULTS, seeds=3)
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
        for seed in range(given.seeds):
            asked = [point for point in points(seed + 1, given.sets) if point.seed == seed]
            in_parallel(measure, missing(point.cell(given.runs, archives) for point in asked), workers=given.workers)
        untrained(given.runs, archives, given.seeds, given.sets)
        for seed in range(given.seeds):
            for data in given.sets:
                if SETS[data].fused is not None:
                    fused(given.runs, archives, data, seed)
    results.write(gather(given.runs, archives))


if __name__ == "__main__":
    main()

"""Where tasks really conflict: TC² told nothing, beside controls that are told and controls that are not.

python benchmarks/conflict.py --part main --seeds 5                     # levels × arms with SimCLR; resumes
python benchmarks/conflict.py --part objectives --seeds 3               # the one-more level under other objectives
python benchmarks/conflict.py --part capacity --seeds 3                 # widths of the encoder, numbers of factors
python benchmarks/conflict.py --part rates                              # the search of learning rates, on validation images
python benchmarks/conflict.py --part weights                            # that of regularizers' weights, alone and beside TC²
python benchmarks/conflict.py --part tuned --seeds 5                    # each regularizer at the weight that was best
python benchmarks/conflict.py --collect --figure benchmarks/results/conflict.png

Each cell is a run folder below --runs and one JSON file beside it: what linear probes read of nine known factors in the
features of the plain encoder. Probes are fit on images of combinations of shape and texture that pre-training has not seen,
and tested on further ones. Learning rates of the main arms, the inner rate of TC² and the weights of regularizers were
searched with a seed of their own, where test images take no part; all other arms, objectives and widths take what was found
for SimCLR or the first rate. A study goes on from the rows in --json that were measured with today's settings.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from cells import (
    STEPS,
    Cell,
    identity,
    in_parallel,
    keep,
    kept,
    missing,
    paired,
    quiet,
    read_controls,
    restore,
    rounded,
    study_parser,
    trained_run,
)
from common import write
from evidence import signed
from matplotlib import pyplot as plt
from torch import nn

from metatc2.data.sources.shapes.dataset import load_shapes
from metatc2.data.sources.shapes.render import FACTORS
from metatc2.diagnostics import delta_p, factor_matrix
from metatc2.experiment.build import build_fresh_encoder
from metatc2.training import TrainingDiverged

matplotlib.use("Agg")
RESULTS = Path(__file__).resolve().parent / "results" / "conflict.json"
IMAGES = 2500  # images that probes are fit on, and tested on
PROBES = 7  # seed of the probes' own draws


@dataclass(frozen=True)
class Arm:
    """What is compared.

    Args:
        settings: keys that make it.
        told: whether it is given what each task is.
        main: whether all levels and seeds are asked of it; the others are run at the one-more level.
    """

    settings: tuple[str, ...]
    told: bool = False
    main: bool = False


def _tasks(*more: str) -> tuple[str, ...]:
    return ("calibration.name=tasks", *more)


def _tc2(*more: str, weights: str = "linear") -> tuple[str, ...]:
    # Named, for a study must not follow a default that moves.
    return ("calibration.name=tc2", f"calibration.weights={weights}", *more)


WIDTH = 32
REGULARIZERS = {"isotropy": "isotropy", "SIGReg": "sigreg", "VISReg": "visreg"}
#: Searched beside the weight that is the regularizers' own, 0.03.
WEIGHTS = ("0.1", "0.3", "1", "3")


PARTS = ("rates", "weights", "main", "tuned", "more", "objectives", "capacity")


def _weighed(settings: tuple[str, ...], label: str) -> dict[str, Arm]:
    return {
        label.format(name=name, weight=weight): Arm(
            (*settings, f"regularizer.name={key}", f"regularizer.weight={weight}")
        )
        for name, key in REGULARIZERS.items()
        for weight in WEIGHTS
    }


ARMS: dict[str, Arm] = {
    "TC²": Arm(_tc2(), main=True),
    "TC² (gates)": Arm(_tc2(weights="task"), main=True),
    "TC² (gates by sample)": Arm(_tc2(weights="sample"), main=True),
    "one head": Arm(_tasks(), main=True),
    "isotropy": Arm(_tasks("regularizer.name=isotropy"), main=True),
    "SIGReg": Arm(_tasks("regularizer.name=sigreg"), main=True),
    "VISReg": Arm(_tasks("regularizer.name=visreg"), main=True),
    "PCGrad": Arm(_tasks("learner.aggregate=pcgrad"), main=True),
    "a mask a task": Arm(_tasks("head.told=mask-sigmoid"), told=True, main=True),
    "a head a task": Arm(_tasks("head.told=heads"), told=True, main=True),
    **_weighed(_tasks(), "{name}, weight {weight}"),
    **_weighed(_tc2(), "TC² + {name}, weight {weight}"),
    # Steps for as long as TC²'s take.
    "one head, 15 % more steps": Arm(_tasks(f"trainer.steps={round(1.15 * STEPS)}")),
    "TC², 4 factors": Arm(_tc2("calibration.factors=4")),
    "TC², 12 factors": Arm(_tc2("calibration.factors=12")),
    "a linear map a task": Arm(_tasks("head.told=linear-map"), told=True),
    "separate encoders": Arm(_tasks("encoder.one_a_kind=true"), told=True),
    "TC² without inner steps": Arm(_tc2("calibration.inner_steps=0")),
    "TC², first order": Arm(_tc2("calibration.adjoint=first-order")),
    **{f"TC² + {name}": Arm(_tc2(f"regularizer.name={key}")) for name, key in REGULARIZERS.items()},
    "TC², judged on the others too": Arm(_tc2("calibration.outer_on=others")),
    "TC², judged on the query": Arm(_tc2("calibration.outer_on=query")),
    "TC² (gates), rate 3": Arm(_tc2("calibration.inner_lr=3", weights="task")),
    "TC², rate 3": Arm(_tc2("calibration.inner_lr=3")),
    "TC², T = 5": Arm(_tc2("calibration.inner_steps=5")),
    "TC², as many factors as go": Arm(_tc2(f"calibration.factors={WIDTH - 1}")),
    "TC², sparsity 0.1": Arm(_tc2("calibration.sparsity=0.1")),
    "TC², reconstruction 1": Arm(_tc2("calibration.reconstruction=1")),
    "shared TC²": Arm(("calibration.name=tc2", "calibration.adapt=shared")),
    "one head, negatives of all tasks": Arm(("calibration.name=none",)),
    "UPGrad": Arm(_tasks("learner.aggregate=upgrad")),
    "Nash-MTL": Arm(_tasks("learner.aggregate=nash-mtl")),
    "uncertainty weights": Arm(_tasks("learner.aggregate=uncertainty"), told=True),
    "concatenate": Arm(_tasks("head.told=concatenate"), told=True),
    "FiLM": Arm(_tasks("head.told=film"), told=True),
    "a sparse mask a task": Arm(_tasks("head.told=mask-sparse"), told=True),
    "split dimensions": Arm(_tasks("head.told=split"), told=True),
    "random masks": Arm(_tasks("head.told=random-masks"), told=True),
}
SUBJECT = "TC²"
SUBJECTS = ("TC²", "TC² (gates)", "TC² (gates by sample)")
MAIN = tuple(name for name, arm in ARMS.items() if arm.main)
LEVELS = ("one-more", "contradiction", "per-sample-hue", "per-sample", "same")
#: Without MoCo: keys in its queue were weighed for other tasks, so calibration itself tells them from positives.
OBJECTIVES = {
    "simclr": ("objective.temperature=0.2",),
    "byol": ("objective.momentum=0.95",),
    "barlow": (),
    "vicreg": (),
    "lejepa": (),
    "visreg": (),
}
WIDTHS = (8, 16, 32, 64)
#: Searched beside the main arms.
SEARCHED = ("TC² (gates), rate 3", "TC², rate 3")
RATES = ("0.002", "0.004")
SEARCH_SEED = 100
FACTOR_ARMS = ("TC², 4 factors", "TC², 12 factors", "TC², as many factors as go")


#: What names a point in a row.
AT = ("level", "objective", "arm", "width", "seed", "lr")


@dataclass(frozen=True)
class Point:
    """Where in the study a cell stands."""

    level: str
    objective: str
    arm: str
    width: int
    seed: int
    lr: str
    judged: str = "test"

    def cell(self, folder: Path) -> Cell:
        """Its run."""
        words = (self.level, self.objective, self.arm, f"w{self.width}", f"lr{self.lr}", f"s{self.seed}")
        name = "-".join(word.replace(" ", "-").replace(",", "").replace("²", "2").replace("+", "and") for word in words)
        width = self.width
        if self.arm == "separate encoders":  # of together as many parameters
            width = max(4, round(width / math.sqrt(_KINDS[self.level])))
        settings = (
            "data.image_size=28",
            "episode.tasks_differ_by=factor",
            f"episode.level={self.level}",
            "episode.tasks=4",
            f"objective.name={self.objective}",
            *OBJECTIVES[self.objective],
            f"encoder.width={width}",
            f"trainer.lr={self.lr}",
            f"trainer.seed={self.seed}",
            *ARMS[self.arm].settings,
        )
        return Cell(folder / name, "shapes", settings, ())


_KINDS = {"one-more": 5, "contradiction": 4, "per-sample": 2, "per-sample-hue": 2, "same": 1}


def measure(cell: Cell, path: Path) -> str:
    """Train a cell and probe it; its row to `path`."""
    quiet()
    try:
        run = trained_run(cell)
    except TrainingDiverged as error:
        keep(cell, path, {"diverged": True})
        return f"diverged: {error}"
    found: dict[str, Any] = {"seconds": run.seconds, **probed(run.encoder)}
    keep(cell, path, found)
    return f"{run.seconds:.0f} s; mean of nine factors {100 * found['test']['mean']:.1f}"


def probed(encoder: nn.Module) -> dict[str, Any]:
    """What linear probes read of the factors in an encoder's features, for the search and for the test."""
    store = load_shapes(image_size=28)
    found = {}
    # Both parts are apart from pre-training; the search looks at the first alone.
    first, last = (store.rows(part)[:IMAGES] for part in ("validation", "test"))
    half = len(first) // 2
    for name, fit, tested in (("validation", first[:half], first[half:]), ("test", first, last)):
        probes = factor_matrix(encoder, store, fit, tested, generator=torch.Generator().manual_seed(PROBES))
        found[name] = {
            "mean": probes.mean,
            "factors": probes.values(),
            "selectivity": {factor: p.selectivity for factor, p in probes.factors.items()},
        }
    return found


def untrained(folder: Path, seeds: int) -> None:
    """The same of encoders before any step, and of pixels; to ``controls.json``."""
    quiet()
    rows: list[dict[str, Any]] = [{"control": "raw pixels", "seed": 0, **probed(nn.Flatten())}]
    for seed in range(seeds):
        encoder = build_fresh_encoder(
            Point("one-more", "simclr", "one head", WIDTH, seed, RATES[0]).cell(folder).config, 3, 28
        )
        rows.append({"control": "random encoder", "seed": seed, **probed(encoder)})
    (folder / "controls.json").write_text(json.dumps(rows))


def points(part: str, seeds: int, rates: Mapping[str, str], tuned: Sequence[str] = ()) -> list[Point]:
    """What a part of the study asks for, seed by seed, so that a study that is cut is balanced.

    Args:
        part: one of `PARTS`.
        seeds: how many.
        rates: learning rate by arm, from the search.
        tuned: arms with the weight of their regularizer that was best, from the search.
    """

    def at(level: str, arm: str, seed: int, objective: str = "simclr", width: int = WIDTH) -> Point:
        return Point(level, objective, arm, width, seed, rates.get(arm, RATES[0]))

    if part == "rates":
        return [Point("one-more", "simclr", arm, WIDTH, SEARCH_SEED, lr) for arm in (*MAIN, *SEARCHED) for lr in RATES]
    if part == "weights":
        alone, beside = _weighed((), "{name}, weight {weight}"), _weighed((), "TC² + {name}, weight {weight}")
        found = [Point("one-more", "simclr", arm, WIDTH, SEARCH_SEED, lr) for arm in alone for lr in RATES]
        own = [f"TC² + {name}" for name in REGULARIZERS]
        lr = rates.get(SUBJECT, RATES[0])
        return found + [Point("one-more", "simclr", arm, WIDTH, SEARCH_SEED, lr) for arm in (*own, *beside)]
    every = range(seeds)
    if part == "tuned":
        levels = ("one-more", "contradiction", "same")
        longer = [(level, "one head, 15 % more steps") for level in levels[:2]]
        return [at(level, arm, seed) for seed in every for level, arm in [*product(levels, tuned), *longer]]
    if part == "main":
        null = ("TC²", "TC² (gates)", "TC² (gates by sample)", "one head", "isotropy")
        both = [(level, arm) for level in LEVELS for arm in MAIN if level != "same" or arm in null]
        return [at(level, arm, seed) for seed in every for level, arm in both]
    if part == "more":
        return [at("one-more", arm, seed) for seed in every for arm in ARMS if arm not in MAIN and "weight" not in arm]
    if part == "objectives":
        others = [name for name in OBJECTIVES if name != "simclr"]
        return [at("one-more", arm, seed, o) for seed in every for o in others for arm in _beside(tuned)]
    found = [at("one-more", arm, seed, width=w) for seed in every for w in WIDTHS for arm in (SUBJECT, "one head")]
    return found + [at("one-more", arm, seed) for seed in every for arm in FACTOR_ARMS]


def _beside(tuned: Sequence[str]) -> tuple[str, ...]:
    """Arms of the table of objectives: TC², none, the strongest regularizer alone, a head of each task's own."""
    return (SUBJECT, "one head", *[arm for arm in tuned if not arm.startswith("TC²")][:1], "a head a task")


def searched(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The learning rate of each arm that was best on validation images."""
    own = [row for row in rows if row["seed"] == SEARCH_SEED and "arm" in row]
    arms = dict.fromkeys(row["arm"] for row in own)
    return {arm: max((r for r in own if r["arm"] == arm), key=lambda r: r["validation"]["mean"])["lr"] for arm in arms}


def tuned_arms(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each regularizer, alone and beside TC², at the weight that was best on validation images; the best of them first."""

    def validated(row: Mapping[str, Any]) -> float:
        return float(row["validation"]["mean"])

    best: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        if "arm" not in row or row["seed"] != SEARCH_SEED or "validation" not in row:
            continue
        name = row["arm"].split(", weight")[0]
        known = name.removeprefix("TC² + ") in REGULARIZERS
        if known and (name not in best or validated(row) > validated(best[name])):
            best[name] = row
    return [row["arm"] for row in sorted(best.values(), key=validated, reverse=True)]


def gather(folder: Path) -> list[dict[str, Any]]:
    """Rows of all cells that are done, whatever was asked for."""
    rows = []
    every: dict[Path, Point] = {}
    for part in PARTS:
        for chosen in ({}, *(dict.fromkeys(ARMS, lr) for lr in RATES)):
            for point in points(part, 10, chosen, [arm for arm in ARMS if "weight" in arm or arm in REGULARIZERS]):
                every[point.cell(folder).path] = point
    for point in every.values():
        found = kept(point.cell(folder))
        if found is not None:
            at = {key: getattr(point, key) for key in AT}
            rows.append({**at, "identity": identity(point.cell(folder).config), **rounded(found)})
    return rows + read_controls(folder)


def select(rows: Sequence[Mapping[str, Any]], **at: Any) -> dict[int, Mapping[str, Any]]:
    """Rows of one point by seed, at the arm's own learning rate; those of the search are left out."""
    rates = searched(rows)
    return {
        r["seed"]: r
        for r in rows
        if all(r[key] == value for key, value in at.items())
        and r["seed"] != SEARCH_SEED
        and "test" in r
        and r["lr"] == rates.get(r["arm"], RATES[0])
    }


def differences(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """TC² less every other arm, over the seeds that both have."""
    found = []
    rows = [r for r in rows if "arm" in r]
    settings = dict.fromkeys((r["level"], r["objective"], r["width"]) for r in rows)
    for level, objective, width in settings:
        at = {"level": level, "objective": objective, "width": width}
        for subject in SUBJECTS:
            own = select(rows, arm=subject, **at)
            for arm in ARMS:
                other = select(rows, arm=arm, **at)
                seeds = sorted(own.keys() & other.keys())
                if arm == subject or not seeds:
                    continue
                values = [own[s]["test"]["mean"] - other[s]["test"]["mean"] for s in seeds]
                found.append({**at, "subject": subject, "against": arm, **paired(values, seeds)})
    return found


def interactions(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What TC² gains over one head where tasks disagree, less what it gains where they do not: the part that is conflict."""
    found = []
    for subject in SUBJECTS:
        for level in ("one-more", "contradiction"):
            sides = [
                select(rows, level=at, objective="simclr", width=WIDTH, arm=arm)
                for at in (level, "same")
                for arm in (subject, "one head")
            ]
            seeds = sorted(set.intersection(*(set(side) for side in sides)))
            if seeds:
                own, plain, null, plain_null = (np.array([side[s]["test"]["mean"] for s in seeds]) for side in sides)
                where = paired([float(v) for v in own - plain], seeds)["difference"]
                values = [float(v) for v in (own - plain) - (null - plain_null)]
                found.append({"interaction": level, "subject": subject, "gain": where, **paired(values, seeds)})
    return found


def interaction_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Gains at the levels that disagree, less the gain at the level that does not."""
    lines = ["| form | level | TC² − one head | less the same at the level same | seeds |", "|---|---|---|---|---|"]
    for r in rows:
        if "interaction" in r:
            lines.append(
                f"| {r['subject']} | {r['interaction']} | {100 * r['gain']:+.1f} | {signed(r)} | {len(r['seeds'])} |"
            )
    return "\n".join(lines)


def table(rows: Sequence[Mapping[str, Any]], level: str) -> str:
    """One level: each arm's mean and factors, and TC² less it."""
    runs = [r for r in rows if "arm" in r]
    gaps = {(r["subject"], r["against"]): r for r in rows if "against" in r and _at(r, level)}
    controls = [r for r in rows if "control" in r]
    lines = [
        f"| {level} | told | mean | TC² − arm | {' | '.join(FACTORS)} | seeds |",
        "|---|---|---|---|" + "---|" * (len(FACTORS) + 1),
    ]
    for arm in ARMS:
        own = select(runs, level=level, objective="simclr", width=WIDTH, arm=arm)
        if not own:
            continue
        means = [100 * r["test"]["mean"] for r in own.values()]
        factors = [100 * float(np.mean([r["test"]["factors"][f] for r in own.values()])) for f in FACTORS]
        gap = gaps.get((SUBJECT, arm))
        lines.append(
            f"| {arm} | {'yes' if ARMS[arm].told else ''} | {np.mean(means):.1f} | {signed(gap) if gap else '–'} | "
            f"{' | '.join(f'{value:.0f}' for value in factors)} | {len(own)} |"
        )
    for name in dict.fromkeys(r["control"] for r in controls):
        of = [r["test"] for r in controls if r["control"] == name]
        factors = [100 * float(np.mean([t["factors"][f] for t in of])) for f in FACTORS]
        mean = 100 * np.mean([t["mean"] for t in of])
        lines.append(f"| {name} | | {mean:.1f} | – | {' | '.join(f'{value:.0f}' for value in factors)} | {len(of)} |")
    return "\n".join(lines)


def _at(row: Mapping[str, Any], level: str, objective: str = "simclr", width: int = WIDTH) -> bool:
    return (row.get("level"), row.get("objective"), row.get("width")) == (level, objective, width)


def levels_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Every level that was measured."""
    measured = [level for level in LEVELS if any(r.get("level") == level and "arm" in r for r in rows)]
    return "\n\n".join(table(rows, level) for level in measured)


def versus_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Δp of each arm against separate encoders."""
    found = versus_separate(rows)
    lines = ["| one-more | told | Δp against separate encoders, % |", "|---|---|---|"]
    lines += [f"| {arm} | {'yes' if ARMS[arm].told else ''} | {value:+.0f} |" for arm, value in found.items()]
    return "\n".join(lines)


def objectives_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The one-more level under each objective."""
    runs = [r for r in rows if "arm" in r]
    arms = _beside(tuned_arms(rows))
    gaps = {(r["objective"], r["against"]): r for r in rows if _gap_at(r) and r["width"] == WIDTH}
    gaps_of = " | ".join(f"TC² − {arm}" for arm in arms[1:])
    lines = [
        f"| one-more | {' | '.join(arms)} | {gaps_of} | seeds |",
        "|---|" + "---|" * (2 * len(arms)),
    ]
    for objective in OBJECTIVES:
        own = {arm: select(runs, level="one-more", objective=objective, width=WIDTH, arm=arm) for arm in arms}
        if not own[SUBJECT]:
            continue
        means = [
            f"{100 * np.mean([r['test']['mean'] for r in own[arm].values()]):.1f}" if own[arm] else "–" for arm in arms
        ]
        shown = [signed(gaps[objective, arm]) if (objective, arm) in gaps else "–" for arm in arms[1:]]
        lines.append(f"| {objective} | {' | '.join(means)} | {' | '.join(shown)} | {len(own['TC²'])} |")
    return "\n".join(lines)


def weights_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The search of regularizers' weights, on validation images: the better of the rates that were tried."""
    own = [r for r in rows if r.get("seed") == SEARCH_SEED and "arm" in r and "validation" in r]
    best: dict[str, float] = {}
    for r in own:
        best[r["arm"]] = max(best.get(r["arm"], -1.0), r["validation"]["mean"])
    plain = {"": "one head", "TC² + ": SUBJECT}
    lines = [
        f"| validation images, one seed | without | 0.03 | {' | '.join(WEIGHTS)} |",
        "|---|---|---|" + "---|" * len(WEIGHTS),
    ]
    for (prefix, without), name in product(plain.items(), REGULARIZERS):
        arms = (without, f"{prefix}{name}", *(f"{prefix}{name}, weight {weight}" for weight in WEIGHTS))
        cells = [f"{100 * best[arm]:.1f}" if arm in best else "–" for arm in arms]
        lines.append(f"| {prefix}{name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def capacity_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The one-more level by width of the encoder, and by number of factors."""
    runs = [r for r in rows if "arm" in r]
    gaps = {(r["width"], r["against"]): r for r in rows if _gap_at(r) and r["objective"] == "simclr"}
    lines = ["| one-more | TC² | compared with | mean | TC² − it | seeds |", "|---|---|---|---|---|---|"]
    compared = [(f"width {w}", w, "one head") for w in WIDTHS] + [(f"width {WIDTH}", WIDTH, arm) for arm in FACTOR_ARMS]
    for label, width, arm in compared:
        at = {"level": "one-more", "objective": "simclr", "width": width}
        own, other = select(runs, arm=SUBJECT, **at), select(runs, arm=arm, **at)
        if own and other:
            means = [100 * np.mean([r["test"]["mean"] for r in side.values()]) for side in (own, other)]
            gap = gaps[width, arm]
            lines.append(f"| {label} | {means[0]:.1f} | {arm} | {means[1]:.1f} | {signed(gap)} | {len(gap['seeds'])} |")
    return "\n".join(lines)


def together_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """What TC² adds to each regularizer at its best weight, and each to the other."""
    lines = ["| level | regularizer | it alone − one head | TC² − it | TC² + it − it | TC² + it − TC² | seeds |"]
    lines.append("|---|---|---|---|---|---|---|")
    runs = [r for r in rows if "arm" in r]
    arms = tuned_arms(rows)
    for level, name in product(("one-more", "contradiction", "same"), REGULARIZERS):
        alone, both = (next((arm for arm in arms if arm.split(",")[0] == f"{p}{name}"), None) for p in ("", "TC² + "))
        pairs = ((alone, "one head"), (SUBJECT, alone), (both, alone), (both, SUBJECT))
        shown, counts = [], []
        for a, b in pairs:
            sides = [select(runs, level=level, objective="simclr", width=WIDTH, arm=arm) for arm in (a, b)]
            seeds = sorted(sides[0].keys() & sides[1].keys())
            values = [sides[0][s]["test"]["mean"] - sides[1][s]["test"]["mean"] for s in seeds]
            shown.append(signed(paired(values, seeds)) if seeds else "–")
            counts.append(len(seeds))
        if any(counts):
            lines.append(f"| {level} | {alone} | {' | '.join(shown)} | {'/'.join(map(str, counts))} |")
    return "\n".join(lines)


def _gap_at(row: Mapping[str, Any]) -> bool:
    return bool(row.get("subject") == SUBJECT and row.get("level") == "one-more")


def versus_separate(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Δp of each arm against separate encoders, over the factors that those tell at all, in percent."""
    runs = [r for r in rows if "arm" in r]
    alone = select(runs, level="one-more", objective="simclr", width=WIDTH, arm="separate encoders")
    if not alone:
        return {}
    single = {f: float(np.mean([r["test"]["factors"][f] for r in alone.values()])) for f in FACTORS}
    kept = [f for f in FACTORS if single[f] > 0.1]
    found = {}
    for arm in ARMS:
        own = select(runs, level="one-more", objective="simclr", width=WIDTH, arm=arm)
        if own:
            means = [float(np.mean([r["test"]["factors"][f] for r in own.values()])) for f in kept]
            found[arm] = delta_p(means, [single[f] for f in kept])
    return found


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Means by level and arm with their seeds."""
    runs = [r for r in rows if "arm" in r]
    shown = [level for level in LEVELS if select(runs, level=level, objective="simclr", width=WIDTH, arm=SUBJECT)]
    figure, axes = plt.subplots(1, len(shown), figsize=(3.2 * len(shown), 3.6), sharey=True, constrained_layout=True)
    for panel, level in zip(np.atleast_1d(axes), shown, strict=True):
        for place, arm in enumerate(reversed(MAIN)):
            own = select(runs, level=level, objective="simclr", width=WIDTH, arm=arm)
            values = [100 * r["test"]["mean"] for r in own.values()]
            if not values:
                continue
            color = "#c1272d" if arm.startswith("TC²") else "#3477b5" if ARMS[arm].told else "#707070"
            panel.barh(place, np.mean(values), color=color, alpha=0.35)
            panel.plot(values, [place] * len(values), "o", color=color, markersize=3)
        panel.set_yticks(range(len(MAIN)), [f"{a} (told)" if ARMS[a].told else a for a in reversed(MAIN)], fontsize=8)
        panel.set_title(level, fontsize=9)
        panel.set_xlabel("mean of nine factor probes, %", fontsize=8)
        panel.tick_params(labelsize=8)
        for name, style in (("random encoder", ":"), ("raw pixels", "--")):
            untrained = [100 * r["test"]["mean"] for r in rows if r.get("control") == name]
            if untrained:
                panel.axvline(float(np.mean(untrained)), color="black", linestyle=style, linewidth=1, label=name)
        panel.set_xlim(0, 60)
    handles, labels = np.atleast_1d(axes)[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    """Make the cells that are asked for, gather all that are done, draw."""
    parser = study_parser(__doc__, runs="runs/conflict", results=RESULTS, seeds=5)
    parser.add_argument("--part", choices=("controls", *PARTS), default="main")
    parser.add_argument("--levels", nargs="+", choices=LEVELS, default=list(LEVELS))
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--figure", type=Path, help="PNG file of the means by level")
    given = parser.parse_args()
    restore(given.json, lambda row: Point(*(row[key] for key in AT)).cell(given.runs) if "arm" in row else None)
    if given.part == "controls" and not given.collect:
        untrained(given.runs, given.seeds)
    elif not given.collect:
        found = gather(given.runs)
        asked = [
            point.cell(given.runs)
            for point in points(given.part, given.seeds, searched(found), tuned_arms(found))
            if point.level in given.levels and point.arm in given.arms
        ]
        given.runs.mkdir(parents=True, exist_ok=True)
        in_parallel(measure, missing(asked), workers=given.workers)
    rows = gather(given.runs)
    write(given.json, [*rows, *differences(rows), *interactions([r for r in rows if "arm" in r])])
    if given.figure:
        draw(rows, given.figure)


if __name__ == "__main__":
    main()

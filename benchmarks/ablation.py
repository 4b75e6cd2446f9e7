"""Every switch of shared TC² + isotropy, one at a time, on held-out classes of the source and on no target of the evidence.

python benchmarks/ablation.py --figures benchmarks/results/ablation     # all; hours on two cores, resumed when called again
python benchmarks/ablation.py --switches gamma form --objectives simclr --seeds 2
python benchmarks/ablation.py --switches isotropy --source shapes       # held-out shapes and textures in place of Latin letters
python benchmarks/ablation.py --collect

Writes one row a source, switch, value and objective of all that is done: accuracy, and the paired difference from the default
over the seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import evidence
import matplotlib
import numpy as np
from cells import Cell, Judged, make, mean_over, paired, rows_of, seeds_in
from common import positive, write
from matplotlib import pyplot as plt
from recipes import TARGET, best

from metatc2.report.text import NAMES

matplotlib.use("Agg")
RESULTS = Path(__file__).resolve().parent / "results" / "ablation.json"
JUDGED = {
    "glyphs": Judged((TARGET,), (20,)),
    "shapes": Judged(("shapes:meta-validation",), (20,)),
    "digits": Judged(("digits:meta-validation",), (2,)),
}
DEFAULT = "default"
C, R = "calibration.", "regularizer."
# By switch: what it is, the default's value, then what is tried in its place.
SWITCHES: dict[str, tuple[str, str, dict[str, tuple[str, ...]]]] = {
    "isotropy": (
        "isotropy λ_i",
        "0.03",
        {"0": (f"{R}name=none",), **{v: (f"{R}weight={v}",) for v in ("0.003", "0.01", "0.1")}},
    ),
    "form": ("form", "add", {v: (f"{C}form={v}",) for v in ("blend", "gate")}),
    "blend": ("blend a", "1", {v: (f"{C}blend={v}",) for v in ("0", "0.5")}),
    "place": ("place", "backbone", {"projector": (f"{C}where=projector",)}),
    "factor-network": ("factor network", "pooled", {v: (f"{C}factor_network={v}",) for v in ("parameter", "fixed")}),
    "weights": ("weights", "sample", {"task": (f"{C}weights=task",)}),
    "placebo": ("placebo", "none", {v: (f"{C}control={v}",) for v in ("shuffle", "random-projection")}),
    "factors": ("factors K", "48", {v: (f"{C}factors={v}",) for v in ("4", "16", "32", "63")}),
    # With γ = 0 and statistics of the episode the number of tasks acts on nothing: see `SharedTC2`.
    "tasks": (
        "tasks M, statistics of each",
        "4, of the episode",
        {v: (f"{C}statistics=task", f"episode.tasks={v}") for v in ("2", "4", "8")},
    ),
    "tasks-gamma-1": (
        "tasks M (γ = 1)",
        "4, γ = 0",
        {v: (f"{C}gamma=1", f"episode.tasks={v}") for v in ("1", "2", "8")},
    ),
    "steps": ("inner steps T", "3", {v: (f"{C}inner_steps={v}",) for v in ("0", "1", "5")}),
    "adjoint": (
        "adjoint",
        "unroll",
        {"truncated to 1": (f"{C}adjoint=truncated",), "first order": (f"{C}adjoint=first-order",)},
    ),
    "adjoint-gamma-1": (
        "adjoint (γ = 1)",
        "γ = 0",  # what every row is held against; the first of them is the exact one
        {
            "unroll": (f"{C}gamma=1",),
            "truncated to 1": (f"{C}gamma=1", f"{C}adjoint=truncated"),
            "first order": (f"{C}gamma=1", f"{C}adjoint=first-order"),
            "none": (f"{C}gamma=1", f"{C}adjoint=truncated", f"{C}adjoint.last_steps=0"),
        },
    ),
    "sparsity": ("sparsity λ_s", "0.05", {v: (f"{C}sparsity={v}",) for v in ("0", "0.01", "0.25", "1")}),
    "orthogonality": ("orthogonality λ_o", "1", {v: (f"{C}orthogonality={v}",) for v in ("0", "0.1", "10")}),
    "gamma": ("objective in the inner loss γ", "0", {v: (f"{C}gamma={v}",) for v in ("0.3", "1", "3")}),
    "support": ("support share", "0.5", {v: (f"episode.support={v}",) for v in ("0.25", "0.75")}),
    "assignment": ("assignment", "random", {v: (f"episode.assign={v}",) for v in ("cluster", "domain")}),
    "outer": ("outer loss on", "whole", {"query": (f"{C}outer_on=query",)}),
    "negatives": ("negatives", "batch of 128", {f"batch of {v}": (f"episode.batch={v}",) for v in ("64", "256")}),
    "standardized": ("standardized", "yes", {"no": (f"{C}standardize=false",)}),
    "look-ahead": ("look-ahead", "no", {"yes": (f"{C}look_ahead=true",)}),
}


def cell(
    folder: Path, source: str, objective: str, settings: tuple[str, ...], seed: int, recipe: tuple[str, ...]
) -> Cell:
    """One run: the default where nothing is set."""
    short = "-".join(word.removeprefix(C).replace("=", "-") for word in settings) or DEFAULT
    base = evidence.cell(folder, source, objective, evidence.OURS, seed, recipe)
    path = folder / f"{source}-{objective}-{short}-s{seed}"
    return Cell(path, base.task, (*base.settings, *settings), (JUDGED[source],))


def row(switch: str, value: str, own: dict[int, Cell], base: dict[int, Cell]) -> dict[str, Any] | None:
    """Accuracy of a setting over its seeds, and its difference from the default over those that both have."""
    judged = next(iter(own.values())).judged[0]
    accuracy = {
        name: {s: mean_over(rows_of(c), judged.targets, judged.way[0], 1) for s, c in cells.items() if c.done}
        for name, cells in (("own", own), ("base", base))
    }
    seeds = sorted(accuracy["own"].keys() & accuracy["base"].keys())
    if not seeds:
        return None
    values = np.array([accuracy["own"][s] for s in seeds])
    change = values - np.array([accuracy["base"][s] for s in seeds])
    seconds = [rows_of(c[s])[0].compute["seconds"] for c in (own, base) for s in seeds]
    return {
        "switch": switch,
        "value": value,
        "mean": float(values.mean()),
        **paired(change.tolist(), seeds),
        "per_seed": values.tolist(),  # accuracies: a setting is compared with several others
        "time_ratio": sum(seconds[: len(seeds)]) / sum(seconds[len(seeds) :]),
        "target": judged.targets[0],
        "way": judged.way[0],
    }


def _place(row: Mapping[str, Any]) -> str:
    """Source and objective in words."""
    return f"{row['source']}, {NAMES[row['objective']]}"


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A line a switch and value: the difference from the default by source and objective."""
    places = list(dict.fromkeys(map(_place, rows)))
    lines = [f"| switch (default) | tried | {' | '.join(places)} |", "|---|---|" + "---|" * len(places)]
    for switch, value in dict.fromkeys((r["switch"], r["value"]) for r in rows):
        own = {_place(r): r for r in rows if (r["switch"], r["value"]) == (switch, value)}
        title, default, _ = SWITCHES[switch]
        cells = " | ".join(evidence.signed(own[place]) if place in own else "–" for place in places)
        lines.append(f"| {title} ({default}) | {value} | {cells} |")
    return "\n".join(lines)


def draw(rows: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """One figure a switch: difference from the default by value, source and objective, with its interval over seeds."""
    folder.mkdir(parents=True, exist_ok=True)
    for switch in dict.fromkeys(r["switch"] for r in rows):
        own = [r for r in rows if r["switch"] == switch]
        values = list(dict.fromkeys(r["value"] for r in own))
        figure, axes = plt.subplots(figsize=(2.2 + 1.1 * len(values), 2.8), constrained_layout=True)
        places = list(dict.fromkeys(map(_place, own)))
        for i, place in enumerate(places):
            found = [r for r in own if _place(r) == place]
            at = [values.index(r["value"]) + 0.5 / len(places) * (i - (len(places) - 1) / 2) for r in found]
            heights = [100 * r["difference"] for r in found]
            half = [100 * r["ci95"] if len(r["seeds"]) >= evidence.ENOUGH else 0.0 for r in found]
            axes.errorbar(at, heights, half, fmt="o", capsize=3, label=place)
        axes.axhline(0, color="gray", linewidth=0.8)
        axes.set_xticks(range(len(values)), values)
        axes.set_xlim(-0.5, len(values) - 0.5)
        axes.set_xlabel(f"{SWITCHES[switch][0]} (default: {SWITCHES[switch][1]})")
        axes.set_ylabel("points against the default")
        axes.legend(frameon=False, fontsize=8)
        figure.savefig(folder / f"{switch}.png", dpi=100)
        plt.close(figure)


def main() -> None:
    """Make the cells that are asked for, gather all that are done, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--switches", nargs="+", choices=SWITCHES, default=list(SWITCHES))
    parser.add_argument("--source", choices=JUDGED, default="glyphs")
    parser.add_argument("--objectives", nargs="+", choices=evidence.OBJECTIVES, default=["simclr", "barlow"])
    parser.add_argument("--seeds", type=positive, default=3)
    parser.add_argument("--workers", type=positive, default=2)
    parser.add_argument("--runs", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--json", type=Path, default=RESULTS)
    parser.add_argument("--figures", type=Path, help="folder for one figure a switch")
    parser.add_argument("--collect", action="store_true", help="make nothing, only gather")
    given = parser.parse_args()
    recipes = best()

    def cells(source: str, objective: str, settings: tuple[str, ...], seeds: Sequence[int]) -> dict[int, Cell]:
        return {s: cell(given.runs, source, objective, settings, s, recipes[objective]) for s in seeds}

    if not given.collect:
        tried: list[tuple[str, ...]] = [(), *(v for name in given.switches for v in SWITCHES[name][2].values())]
        by_seed = [
            cells(given.source, o, v, [s])[s] for s in range(given.seeds) for v in tried for o in given.objectives
        ]
        make({c.path: c for c in by_seed}.values(), workers=given.workers)
    seeds = seeds_in(given.runs)
    rows = [
        {"source": source, "objective": objective, **found}
        for switch, (_, _, values) in SWITCHES.items()
        for value, settings in values.items()
        for source in JUDGED
        for objective in evidence.OBJECTIVES
        if seeds
        and (
            found := row(switch, value, cells(source, objective, settings, seeds), cells(source, objective, (), seeds))
        )
    ]
    write(given.json, rows)
    if given.figures:
        draw(rows, given.figures)


if __name__ == "__main__":
    main()

"""Does calibration help? Objectives × arms × seeds, pre-trained alike and transferred to images never seen.

python benchmarks/evidence.py                                     # everything; hours on two cores, resumed when called again
python benchmarks/evidence.py --source glyphs --seeds 1 --objectives simclr --arms plain shared+isotropy
python benchmarks/evidence.py --source glyphs-long --seeds 3 --arms plain shared+isotropy     # four times the steps
python benchmarks/evidence.py --collect                           # only gather what is done into the JSON file

Each cell is a run folder below --runs. Recipes come from the committed search of `recipes.py`; nothing is tuned on a target.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from cells import STEPS, Cell, Judged, make, mean_over, paired, rows_of, seeds_in
from common import positive, write
from matplotlib import pyplot as plt
from recipes import GRID, best

from metatc2.experiment.pretrained import CALIBRATED, ENCODER
from metatc2.report.text import NAMES
from metatc2.transfer import RANDOM_ENCODER, RAW_PIXELS

matplotlib.use("Agg")
RESULTS = Path(__file__).resolve().parent / "results" / "evidence.json"
OBJECTIVES = tuple(GRID)
ENOUGH = 3  # seeds that an interval is shown from: that of two is mostly chance
# What every other arm is held against: one calibrator for all tasks, and the isotropy of the representation asked for besides.
OURS = "shared+isotropy"
SHARED = ("calibration.name=tc2", "calibration.adapt=shared")
ISOTROPY = ("regularizer.name=isotropy",)
# The time of a step of that arm over that of a plain one in these cells, rounded up: more steps for the plain objective.
EQUAL_COMPUTE = 1.25
ARMS: dict[str, tuple[str, ...]] = {
    OURS: (*SHARED, *ISOTROPY),
    "plain": ("calibration.name=none",),
    "standardize": ("calibration.name=standardize",),
    "tasks": ("calibration.name=tasks",),
    "random projection": (*SHARED, *ISOTROPY, "calibration.control=random-projection"),
    "shuffled weights": (*SHARED, *ISOTROPY, "calibration.control=shuffle"),
    "isotropy": ("calibration.name=standardize", *ISOTROPY),
    "equal compute": ("calibration.name=none",),  # and more steps
}


def titled(arm: str) -> str:
    """An arm as tables and figures name it.

    >>> titled("shared+isotropy"), titled("plain")
    ('shared TC² + isotropy', 'plain')
    """
    return "shared TC² + isotropy" if arm == OURS else arm


@dataclass(frozen=True)
class Source:
    """Where to learn from and what to transfer to.

    Args:
        task: task file by name.
        settings: keys that differ from it.
        judged: targets of unseen images; the first entry, of unseen classes, is the headline, at its first way and one shot.
        steps: outer steps.
    """

    task: str
    settings: tuple[str, ...]
    judged: tuple[Judged, ...]
    steps: int = STEPS


SCRIPTS = tuple(f"glyphs:{script}" for script in ("greek", "cyrillic", "georgian", "armenian"))
SOURCES = {
    "glyphs": Source("glyphs", (), (Judged(SCRIPTS, (20,)), Judged(("digits:all",), (5,)))),
    # Rendered objects in color, with views that change color; the recipes of the glyphs, untouched.
    "shapes": Source(
        "shapes", ("data.image_size=28",), (Judged(("shapes:meta-test",), (20,)), Judged(("shapes:shape:test",), (5,)))
    ),
    # Handwritten digits: seven to transfer to, of which three are the test's.
    "digits": Source("digits", (), (Judged(("digits:meta-test",), (3,)), Judged(SCRIPTS, (20,)))),
    # The recipes of the short runs, untouched: is what calibration gives only a faster start?
    "glyphs-long": Source("glyphs", (), (Judged(SCRIPTS, (20,)),), steps=4 * STEPS),
}
SHORT = tuple(name for name, source in SOURCES.items() if source.steps == STEPS)


def cell(folder: Path, source: str, objective: str, arm: str, seed: int, recipe: Sequence[str]) -> Cell:
    """One run of the study."""
    at = SOURCES[source]
    named = (f"objective.name={objective}", f"trainer.seed={seed}")
    # Views belong to the source; the rest of a recipe to the objective.
    recipe = [word for word in recipe if at.task == "glyphs" or not word.startswith("views.")]
    steps = round(at.steps * (EQUAL_COMPUTE if arm == "equal compute" else 1))
    path = folder / f"{source}-{objective}-{arm.replace(' ', '-')}-s{seed}"
    return Cell(path, at.task, (*at.settings, *recipe, *named, *ARMS[arm], f"trainer.steps={steps}"), at.judged)


def collect(cells: dict[tuple[str, str, str, int], Cell]) -> list[dict[str, Any]]:
    """Rows for the JSON file: accuracies of each cell, controls, and paired differences of shared TC² + isotropy from each."""
    done = {key: rows_of(c) for key, c in cells.items() if c.done}
    done |= {
        (so, o, CALIBRATED, s): rows_of(c, CALIBRATED) for (so, o, a, s), c in cells.items() if a == OURS and c.done
    }
    rows: list[dict[str, Any]] = []
    for (source, objective, arm, seed), c in cells.items():
        for features in (ENCODER, CALIBRATED) if c.done else ():
            for row in rows_of(c, features):
                named = {"source": source, "objective": objective, "arm": arm, "features": features, "seed": seed}
                at = {"target": row.target, "way": row.way, "shot": row.shot}
                rows.append({**named, **at, "mean": round(row.mean, 5), "train_seconds": row.compute["seconds"]})
    rows += [
        {"source": source, "objective": objective, "arm": arm, "seed": seed, "diverged": True}
        for (source, objective, arm, seed), c in cells.items()
        if c.diverged
    ]
    rows += controls(cells)
    for source in SOURCES:
        for part in range(len(SOURCES[source].judged)):
            for objective in OBJECTIVES:
                rows += differences(done, source, part, objective)
    return rows


def differences(
    done: dict[tuple[str, str, str, int], Any], source: str, part: int, objective: str
) -> list[dict[str, Any]]:
    """Shared TC² + isotropy against every other arm, over the seeds that both have."""
    rows = []
    judged = SOURCES[source].judged[part]
    for arm in ARMS:
        seeds = [s for (so, o, a, s) in done if (so, o, a) == (source, objective, OURS)]
        seeds = [s for s in seeds if (source, objective, arm, s) in done]
        if arm == OURS or not seeds:
            continue

        def seconds(name: str, chosen: Sequence[int] = seeds) -> float:
            return sum(float(done[source, objective, name, s][0].compute["seconds"]) for s in chosen)

        for shot in judged.shot:
            ours, theirs = (
                np.array([mean_over(done[source, objective, a, s], judged.targets, judged.way[0], shot) for s in seeds])
                for a in (OURS, arm)
            )
            beside = [
                mean_over(done[source, objective, CALIBRATED, s], judged.targets, judged.way[0], shot)
                for s in seeds
                if done[source, objective, CALIBRATED, s]
            ]
            rows.append(
                {
                    **paired((ours - theirs).tolist(), seeds),
                    "source": source,
                    "objective": objective,
                    "against": arm,
                    "targets": list(judged.targets),
                    "way": judged.way[0],
                    "shot": shot,
                    "ours": float(ours.mean()),
                    "ours_calibrated_features": float(np.mean(beside)) if beside else None,
                    "other": float(theirs.mean()),
                    "other_sd": float(theirs.std(ddof=1)) if len(seeds) > 1 else None,
                    "time_ratio": seconds(OURS) / seconds(arm),
                }
            )
    return rows


def controls(cells: dict[tuple[str, str, str, int], Cell]) -> list[dict[str, Any]]:
    """Random encoder (mean over seeds) and raw pixels by source."""
    rows = []
    for source, at in SOURCES.items():
        for kind in (RANDOM_ENCODER, RAW_PIXELS):
            by_seed = {s: rows_of(c, kind) for (so, _, _, s), c in cells.items() if so == source and c.done}
            for judged in at.judged if by_seed else ():
                for shot in judged.shot:
                    values = [mean_over(found, judged.targets, judged.way[0], shot) for found in by_seed.values()]
                    facts = {"control": kind, "source": source, "targets": list(judged.targets)}
                    mean = sum(values) / len(values)
                    rows.append({**facts, "way": judged.way[0], "shot": shot, "mean": mean, "seeds": len(values)})
    return rows


def headline(rows: Sequence[dict[str, Any]], source: str) -> list[dict[str, Any]]:
    """Differences on the source's first targets, one shot."""
    return [row for row in rows if "difference" in row and row["source"] == source and _is_headline(row, source)]


def _is_headline(row: Mapping[str, Any], source: str) -> bool:
    return bool(row["targets"] == list(SOURCES[source].judged[0].targets) and row["shot"] == 1)


def table(rows: list[dict[str, Any]]) -> str:
    """The first arm by objective and source, its paired difference from every other, and what no training gives."""
    others = [arm for arm in ARMS if arm != OURS]
    lines = []
    for source in SOURCES:
        found = {(row["objective"], row["against"]): row for row in headline(rows, source)}
        if not found:
            continue
        any_row = next(iter(found.values()))
        pre = f"{source}, {any_row['way']}-way 1-shot"
        shown = [arm for arm in others if any(against == arm for _, against in found)]
        against = " | ".join(f"difference from {arm}" for arm in shown)
        lines += [f"| {pre} | plain ± sd | {titled(OURS)} (its calibrated features) | seeds | time | {against} |"]
        lines += ["|---|---|---|---|---|" + "---|" * len(shown)]
        for objective in OBJECTIVES:
            own = {arm: found[objective, arm] for arm in others if (objective, arm) in found}
            if "plain" not in own:
                continue
            plain = own["plain"]
            seeds = plain["seeds"]
            cells = " | ".join(signed(own[arm]) + _fewer(own[arm], len(seeds)) if arm in own else "–" for arm in shown)
            calibrated = plain["ours_calibrated_features"]
            beside = "" if calibrated is None else f" ({100 * calibrated:.1f})"
            spread = "" if plain["other_sd"] is None else f" ± {100 * plain['other_sd']:.1f}"
            means = f"{100 * plain['other']:.1f}{spread} | {100 * plain['ours']:.1f}{beside}"
            lines.append(f"| {NAMES[objective]} | {means} | {len(seeds)} | {plain['time_ratio']:.2f} × | {cells} |")
        for row in rows:
            if "control" in row and row["source"] == source and _is_headline(row, source):
                name, mean = row["control"].replace("-", " "), f"{100 * row['mean']:.1f}"
                lines.append(f"| {name} | {mean} | – | – | – |" + " – |" * len(shown))
        lines.append("")
    return "\n".join(lines[:-1])


def _fewer(row: Mapping[str, Any], seeds: int) -> str:
    """Says so where an interval is of other seeds than the rest of its line."""
    count = len(row["seeds"])
    return f" ({count} seeds)" if ENOUGH <= count != seeds else ""


def signed(row: Mapping[str, Any], scale: float = 100, digits: int = 1) -> str:
    """A difference with its interval, bold where that excludes zero; without from fewer than `ENOUGH` seeds.

    Args:
        row: with difference, ci95 and seeds.
        scale: of what is shown; 100 makes points of accuracies.
        digits: after the point.
    """
    if len(row["seeds"]) < ENOUGH:
        return f"{scale * row['difference']:+.{digits}f} ({len(row['seeds'])})"
    words = f"{scale * row['difference']:+.{digits}f} ± {scale * row['ci95']:.{digits}f}"
    return f"**{words}**" if abs(row["difference"]) > row["ci95"] else words


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Paired differences from every arm by objective, a panel a source; without interval from fewer than `ENOUGH` seeds."""
    sources = [source for source in SOURCES if headline(rows, source)]
    measured = {row["against"] for source in sources for row in headline(rows, source)}
    others = [arm for arm in ARMS if arm in measured]
    figure, panels = plt.subplots(
        1, len(sources), figsize=(2.2 + 4.2 * len(sources), 4.6), sharey=True, squeeze=False, constrained_layout=True
    )
    for axes, source in zip(panels[0], sources, strict=True):
        for i, arm in enumerate(others):
            own = [row for row in headline(rows, source) if row["against"] == arm]
            at = [OBJECTIVES.index(row["objective"]) + 0.1 * (i - (len(others) - 1) / 2) for row in own]
            middle = [100 * row["difference"] for row in own]
            half = [100 * row["ci95"] if len(row["seeds"]) >= ENOUGH else 0.0 for row in own]
            axes.errorbar(middle, at, xerr=half, fmt="o", markersize=4, capsize=2, label=f"against {arm}")
        axes.axvline(0, color="gray", linewidth=0.8)
        # Few seeds make wide intervals: the axis follows the means.
        low = min([100 * row["difference"] for row in headline(rows, source)] + [0.0])
        high = max([100 * row["difference"] for row in headline(rows, source)] + [0.0])
        axes.set_xlim(low - 0.25 * (high - low), high + 0.25 * (high - low))
        way = headline(rows, source)[0]["way"]
        axes.set_title(f"pre-trained on {source}: {way}-way 1-shot, unseen", fontsize=10)
        axes.set_xlabel(f"{titled(OURS)} minus the other arm,\npoints (95 % over seeds)")
    panels[0][0].set_yticks(range(len(OBJECTIVES)), [NAMES[o] for o in OBJECTIVES])
    panels[0][0].set_ylim(len(OBJECTIVES) - 0.5, -0.5)
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    """Make the cells that are asked for, and gather all that are done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", nargs="+", choices=SOURCES, default=list(SHORT))
    parser.add_argument("--objectives", nargs="+", choices=OBJECTIVES, default=list(OBJECTIVES))
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--seeds", type=positive, default=8)
    parser.add_argument("--workers", type=positive, default=2)
    parser.add_argument("--runs", type=Path, default=Path("runs/evidence"))
    parser.add_argument("--json", type=Path, default=RESULTS)
    parser.add_argument("--figure", type=Path, help="draw the differences into this file")
    parser.add_argument("--collect", action="store_true", help="make nothing, only gather")
    given = parser.parse_args()
    recipes = best()

    def keys(
        sources: Sequence[str], objectives: Sequence[str], arms: Sequence[str], seeds: Sequence[int]
    ) -> dict[tuple[str, str, str, int], Cell]:
        return {
            (source, o, arm, seed): cell(given.runs, source, o, arm, seed, recipes[o])
            for source in sources
            for seed in seeds
            for o in objectives
            for arm in arms
        }

    if not given.collect:
        wanted = keys(given.source, given.objectives, given.arms, range(given.seeds))
        make(wanted.values(), workers=given.workers)
    rows = collect(keys(list(SOURCES), OBJECTIVES, list(ARMS), seeds_in(given.runs)))
    write(given.json, rows)
    if given.figure:
        draw(rows, given.figure)


if __name__ == "__main__":
    main()

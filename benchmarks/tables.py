"""Write the tables of the pages from the committed results: every number in them has a script behind it.

python benchmarks/tables.py            # rewrite what lies between the markers in the PAGES below
python benchmarks/tables.py --check    # exit with status 1 if that would change anything
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ablation import table as ablation
from common import refuse
from conflict import (
    capacity_table,
    interaction_table,
    levels_table,
    objectives_table,
    together_table,
    versus_table,
    weights_table,
)
from conflict_few_shot import table as conflict_few_shot
from conflict_measures import table as conflict_measures
from default_regularizer import table as default_regularizer
from evidence import OURS, titled
from evidence import table as evidence
from gradient_parity import table as gradient_parity
from mechanism import correlations_table, differences_table
from mechanism import table as mechanism
from photographs import effects_table
from photographs import table as photographs
from photographs import weights_table as photographs_weights
from readme_tables import cost_table, evidence_table
from recovery import table as recovery
from robustness import table as robustness
from spectrum import differences_table as spectrum_differences
from spectrum import table as spectrum
from transfer_speed import table as transfer_speed

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def step_cost(rows: list[dict[str, Any]]) -> str:
    """Time and memory of a calibrated step over a plain step."""
    lines = ["| encoder | step | T | time over plain (quartiles) | memory over plain |", "|---|---|---|---|---|"]
    # Rows that do not say what adapts are of the calibrator that all tasks share, with isotropy.
    titles = {"task": "TC²", "shared": "shared TC²", None: titled(OURS)}
    for r in rows:
        low, high = r["ratio_quartiles"]
        name = f"{r['encoder']}, width {r['width']}, {r['image']}, batch {r['batch']}"
        ratios = f"{r['ratio']:.2f} ({low:.2f}–{high:.2f}) | {r['memory_ratio']:.2f}"
        lines.append(f"| {name} | {titles[r.get('adapt')]} | {r['inner_steps']} | {ratios} |")
    return "\n".join(lines)


def first_block_speed(rows: list[dict[str, Any]]) -> str:
    """Conv-4's first block in one go against torch's operations."""
    lines = [
        "| training on images of | freed memory is | block, torch / ours (quartiles) | encoder |",
        "|---|---|---|---|",
    ]
    for images, memory in dict.fromkeys((r["images"], r["memory"]) for r in rows):
        own = {r["part"]: r for r in rows if (r["images"], r["memory"]) == (images, memory)}
        cells = [
            "{torch_over_ours:.2f} ({quartiles[0]:.2f}–{quartiles[1]:.2f})".format(**own[p])
            for p in ("block", "encoder")
        ]
        lines.append(f"| {images} | {memory} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def few_shot_speed(rows: list[dict[str, Any]]) -> str:
    """Seconds for 10 000 episodes on one core."""
    lines = ["| head | episodes | features | seconds, one core |", "|---|---|---|---|"]
    for r in rows:
        task = f"{r['way']}-way {r['shot']}-shot {r['query']}-query"
        lines.append(f"| {r['head']} | {r['episodes']:,} × {task} | {r['dimensions']}-d, cached | {r['seconds']:.2f} |")
    return "\n".join(lines)


def demo(rows: list[dict[str, Any]]) -> str:
    """Accuracy on tasks that disagree, and paired differences of TC² from each control."""
    over = " and ".join(dict.fromkeys(r["interval"] for r in rows if "control" not in r))
    lines = [
        f"| target | raw pixels | random encoder | other | TC² | TC² − other ± 95 % over {over} | by seed | TC² is |",
        "|---|---|---|---|---|---|---|---|",
    ]
    controls = {(r["control"], r["target"]): f"{100 * r['mean']:.1f}" for r in rows if "control" in r}
    for r in rows:
        if "control" not in r:
            by_seed = ", ".join(f"{100 * x:+.1f}" for x in r["per_seed"])
            beside = [controls.get((name, r["target"]), "") for name in ("raw pixels", "random encoder")]
            lines.append(
                f"| {r['target']} | {' | '.join(beside)} | {r['b']} {100 * r['mean_b']:.1f} | {100 * r['mean_a']:.1f} | "
                f"{100 * r['difference']:+.1f} ± {100 * r['ci95']:.1f} | {by_seed} | {r['verdict']} |"
            )
    return "\n".join(lines)


def glyphs_fewshot(rows: list[dict[str, Any]]) -> str:
    """Accuracy of every learner on scripts never seen."""
    settings = sorted({(r["way"], r["shot"]) for r in rows})
    lines = [
        "| learner | " + " | ".join(f"{way}-way {shot}-shot" for way, shot in settings) + " | training, s |",
        "|---|" + "---|" * (len(settings) + 1),
    ]
    for name, trained in dict.fromkeys((r["learner"], r["trained"]) for r in rows if "learner" in r):
        own = {(r["way"], r["shot"]): r for r in rows if (r.get("learner"), r.get("trained")) == (name, trained)}
        cells = " | ".join(
            f"{100 * own[s]['mean']:.1f} ± {100 * own[s]['ci95']:.1f}" if s in own else "–" for s in settings
        )
        cost = own[settings[0]]["train_seconds"] if trained else "–"
        lines.append(f"| {name if trained else f'{name}, untrained'} | {cells} | {cost} |")
    raw = {(r["way"], r["shot"]): r["mean"] for r in rows if "control" in r}
    lines.append("| raw pixels, nearest prototype | " + " | ".join(f"{100 * raw[s]:.1f}" for s in settings) + " | – |")
    return "\n".join(lines)


def glyphs_orders(rows: list[dict[str, Any]]) -> str:
    """MAML against its own first-order version, in pairs of one seed."""
    lines = ["| maml − fomaml | difference ± 95 % over seeds | by seed | maml is |", "|---|---|---|---|"]
    for r in rows:
        if "verdict" in r:
            by_seed = ", ".join(f"{100 * d:+.1f}" for d in r["per_seed"])
            told = f"{100 * r['difference']:+.1f} ± {100 * r['ci95']:.1f}"
            lines.append(f"| {r['way']}-way {r['shot']}-shot | {told} | {by_seed} | {r['verdict']} |")
    return "\n".join(lines)


def episodes_speed(rows: list[dict[str, Any]]) -> str:
    """Time and memory of a second-order meta-gradient."""
    lines = [
        "| library | inner steps | seconds | ours / this (quartiles) | tensors, MB | process, MB | distance of gradients |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        low, high = r["ratio_quartiles"]
        ratio = f"{r['ours_over_this']:.2f} ({low:.2f}–{high:.2f})"
        memory = f"{r['tensors_mb']:.1f} | {r['process_mb']:.0f}"
        lines.append(
            f"| {r['library']} | {r['inner_steps']} | {r['seconds']:.2f} | {ratio} | {memory} | {r['gradient_distance']:.0e} |"
        )
    return "\n".join(lines)


def adjoint_memory(rows: list[dict[str, Any]]) -> str:
    """Recompute against Unroll."""
    lines = [
        "| inner steps | Unroll, MB | Recompute, MB | memory saved | time, Recompute / Unroll (range) |",
        "|---|---|---|---|---|",
    ]
    for r in rows:
        low, high = r["time_ratio_range"]
        lines.append(
            f"| {r['inner_steps']} | {r['memory_unroll_mb']} | {r['memory_recompute_mb']} | {r['memory_ratio']:.1f} × | "
            f"{r['time_ratio']:.2f} ({low:.2f}–{high:.2f}) |"
        )
    return "\n".join(lines)


TABLES: dict[str, Callable[[list[dict[str, Any]]], str]] = {
    "evidence": evidence,
    "spectrum": spectrum,
    "step_cost": step_cost,
    "first_block_speed": first_block_speed,
    "few_shot_speed": few_shot_speed,
    "demo": demo,
    "glyphs_fewshot": glyphs_fewshot,
    "glyphs_orders": glyphs_orders,
    "episodes_speed": episodes_speed,
    "adjoint_memory": adjoint_memory,
    "gradient_parity": gradient_parity,
    "robustness": robustness,
    "transfer_speed": transfer_speed,
    "ablation": ablation,
    "mechanism": mechanism,
    "mechanism_differences": differences_table,
    "mechanism_correlations": correlations_table,
    "spectrum_differences": spectrum_differences,
    "recovery": recovery,
    "recovery_correlations": correlations_table,
    "conflict": levels_table,
    "conflict_interaction": interaction_table,
    "conflict_objectives": objectives_table,
    "conflict_delta_p": versus_table,
    "conflict_weights": weights_table,
    "conflict_together": together_table,
    "conflict_capacity": capacity_table,
    "conflict_measures": conflict_measures,
    "conflict_few_shot": conflict_few_shot,
    "default_regularizer": default_regularizer,
    "photographs": photographs,
    "photographs_effects": effects_table,
    "readme_evidence": evidence_table,
    "readme_cost": cost_table,
    "photographs_weights": photographs_weights,
}


#: Tables that are made of another's results.
SOURCES = {
    "glyphs_orders": "glyphs_fewshot",
    "mechanism_differences": "mechanism",
    "mechanism_correlations": "mechanism",
    "recovery_correlations": "recovery",
    "spectrum_differences": "spectrum",
    "conflict_interaction": "conflict",
    "conflict_objectives": "conflict",
    "conflict_delta_p": "conflict",
    "conflict_weights": "conflict",
    "conflict_together": "conflict",
    "conflict_capacity": "conflict",
    "photographs_effects": "photographs",
    "readme_evidence": "conflict",
    "readme_cost": "step_cost",
    "photographs_weights": "photographs",
}
PAGES = (
    ROOT / "README.md",
    ROOT / "benchmarks" / "README.md",
    ROOT / "docs" / "measured.md",
    ROOT / "docs" / "evidence.md",
)
MARKED = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def render(text: str) -> str:
    """A page with every marked table made anew."""

    def made(marked: re.Match[str]) -> str:
        start, name, end = marked.groups()
        rows = json.loads((RESULTS / f"{SOURCES.get(name, name)}.json").read_text())["rows"]
        return f"{start}{TABLES[name](rows)}\n{end}"

    return MARKED.sub(made, text)


def main() -> None:
    """Rewrite or check the pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    before = {page: page.read_text() for page in PAGES}
    places = [name for text in before.values() for _, name, _ in MARKED.findall(text)]
    if sorted(places) != sorted(TABLES):
        wrong = ", ".join(sorted(name for name in {*places, *TABLES} if places.count(name) != 1))
        refuse(f"each table has one place in one page; not so {wrong}")
    after = {page: render(text) for page, text in before.items()}
    if check:
        sys.exit(int(before != after))
    for page, text in after.items():
        page.write_text(text)


if __name__ == "__main__":
    main()

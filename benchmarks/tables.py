"""Write the tables of the pages from the committed results: every number in them has a script behind it.

python benchmarks/tables.py            # rewrite what lies between the markers in the PAGES below
python benchmarks/tables.py --check    # exit with status 1 if that would change anything
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent / "studies"))

import ablation_tables
import conditioning
import conflict_few_shot
import conflict_measures
import conflict_rows
import conflict_tables
import cost_tables
import data_size
import default_regularizer
import demo
import evidence_rows
import evidence_tables
import glyphs_fewshot
import gradient_parity
import learner_rates
import mechanism_tables
import method_tables
import overtrained
import photographs_rows
import photographs_tables
import provenance
import readme_table
import recovery_tables
import robustness
import robustness_tables
import spectrum
import together_points
import together_tables
import transfer_speed
from common import refuse

ROOT = Path(__file__).resolve().parent.parent
Table = Callable[[list[dict[str, Any]]], str]


@cache
def benchmark(name: str) -> list[dict[str, Any]]:
    """Rows of a benchmark's committed results."""
    rows: list[dict[str, Any]] = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())["rows"]
    return rows


def benchmarks(*names: str) -> list[dict[str, Any]]:
    """Rows of several, each with the name of its benchmark."""
    return [{"benchmark": name, **row} for name in names for row in benchmark(name)]


#: Where rows come from, then tables that are made of them, by the name that pages mark them with.
RESULTS: tuple[tuple[Callable[[], list[dict[str, Any]]], Mapping[str, Table]], ...] = (
    (ablation_tables.RESULTS.read, {"ablation": ablation_tables.table}),
    (
        conflict_rows.RESULTS.read,
        {
            "conflict": conflict_tables.levels_table,
            "conflict_interaction": conflict_tables.interaction_table,
            "conflict_objectives": conflict_tables.objectives_table,
            "conflict_delta_p": conflict_tables.versus_table,
            "conflict_weights": conflict_tables.weights_table,
            "conflict_together": conflict_tables.together_table,
            "conflict_capacity": conflict_tables.capacity_table,
            "readme_evidence": readme_table.evidence_table,
            **method_tables.CONFLICT_TABLES,
        },
    ),
    (
        conditioning.RESULTS.read,
        {"conditioning_r2": conditioning.r2_table, "conditioning_transfer": conditioning.transfer_table},
    ),
    (conflict_few_shot.RESULTS.read, {"conflict_few_shot": conflict_few_shot.table}),
    (conflict_measures.RESULTS.read, {"conflict_measures": conflict_measures.table}),
    (data_size.RESULTS.read, {"data_size": data_size.table}),
    (default_regularizer.RESULTS.read, {"default_regularizer": default_regularizer.table}),
    (demo.RESULTS.read, {"demo": demo.table}),
    (evidence_rows.RESULTS.read, {"evidence": evidence_tables.table, **method_tables.OBJECTIVE_TABLES}),
    (
        glyphs_fewshot.RESULTS.read,
        {
            "glyphs_fewshot": glyphs_fewshot.table,
            "glyphs_orders": glyphs_fewshot.orders_table,
            **method_tables.LEARNER_TABLES,
        },
    ),
    (learner_rates.RESULTS.read, {"learner_rates": learner_rates.table}),
    (
        mechanism_tables.RESULTS.read,
        {
            "mechanism": mechanism_tables.table,
            "mechanism_differences": mechanism_tables.differences_table,
            "mechanism_correlations": mechanism_tables.correlations_table,
        },
    ),
    (
        photographs_rows.RESULTS.read,
        {
            "photographs": photographs_tables.table,
            "photographs_effects": photographs_tables.effects_table,
            "photographs_weights": photographs_tables.weights_table,
            "photographs_resnet": partial(photographs_tables.table, design="SimCLR, ResNet-18"),
            "photographs_designs": photographs_tables.designs_table,
        },
    ),
    (
        recovery_tables.RESULTS.read,
        {"recovery": recovery_tables.table, "recovery_correlations": recovery_tables.correlations_table},
    ),
    (overtrained.RESULTS.read, {"overtrained": overtrained.table}),
    (
        together_points.RESULTS.read,
        {"together_systems": together_tables.systems_table, "together_fusion": together_tables.fusion_table},
    ),
    (spectrum.RESULTS.read, {"spectrum": spectrum.table, "spectrum_differences": spectrum.differences_table}),
    (partial(benchmark, "step_cost"), {"step_cost": cost_tables.step_cost, "readme_cost": cost_tables.cost_table}),
    (partial(benchmark, "calibrated_cost"), {"calibrated_cost": cost_tables.calibrated_cost}),
    (partial(benchmark, "first_block_speed"), {"first_block_speed": cost_tables.first_block_speed}),
    (partial(benchmark, "umm_cost"), {"umm_cost": cost_tables.umm_cost}),
    (partial(benchmark, "few_shot_speed"), {"few_shot_speed": cost_tables.few_shot_speed}),
    (partial(benchmark, "episodes_speed"), {"episodes_speed": cost_tables.episodes_speed}),
    (partial(benchmark, "adjoint_memory"), {"adjoint_memory": cost_tables.adjoint_memory}),
    (partial(benchmark, "folder_listing"), {"folder_listing": cost_tables.folder_listing}),
    (partial(benchmark, "stream_memory"), {"stream_memory": cost_tables.stream_memory}),
    (partial(benchmark, "gradient_parity"), {"gradient_parity": gradient_parity.table}),
    (partial(benchmark, "pretrain_throughput"), {"pretrain_throughput": cost_tables.pretrain_throughput}),
    (
        partial(benchmark, "scaling"),
        {
            "scaling": cost_tables.scaling,
            "scaling_messages": cost_tables.messages,
            "scaling_after_encoder": cost_tables.after_encoder,
        },
    ),
    (partial(benchmark, "robustness"), {"robustness": robustness.table}),
    (partial(benchmark, "faults"), {"faults": robustness_tables.faults}),
    (partial(benchmark, "fuzz"), {"fuzz": robustness_tables.fuzz}),
    (
        partial(benchmarks, "pretrain_throughput", "scaling", "faults", "fuzz"),
        {"readme_measured": robustness_tables.readme},
    ),
    (partial(benchmark, "transfer_speed"), {"transfer_speed": transfer_speed.table}),
    (provenance.rows, {"provenance": provenance.table}),
)
TABLES = {name: (rows, table) for rows, tables in RESULTS for name, table in tables.items()}
PAGES = (
    ROOT / "README.md",
    ROOT / "benchmarks" / "README.md",
    ROOT / "docs" / "measured.md",
    ROOT / "docs" / "choosing.md",
    ROOT / "docs" / "evidence.md",
    ROOT / "docs" / "large-data.md",
    ROOT / "docs" / "conditioned-heads.md",
    ROOT / "docs" / "umm.md",
    ROOT / "docs" / "systems.md",
    ROOT / "docs" / "scaling.md",
    ROOT / "docs" / "failures.md",
    ROOT / "docs" / "provenance.md",
    *sorted((ROOT / "docs" / "methods").glob("*.md")),
)
MARKED = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def render(text: str) -> str:
    """A page with every marked table made anew."""

    def made(marked: re.Match[str]) -> str:
        start, name, end = marked.groups()
        rows, table = TABLES[name]
        return f"{start}{table(rows())}\n{end}"

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

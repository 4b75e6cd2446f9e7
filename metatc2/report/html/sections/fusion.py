"""Several encoders used together."""

from __future__ import annotations

from pathlib import PurePath

import numpy as np

from metatc2.report.figures import Grid
from metatc2.report.figures.encoder_weights import encoder_weights
from metatc2.report.fusion_file import Fusion
from metatc2.report.fusion_tables import named
from metatc2.report.html.page import PageSection, TextTable
from metatc2.transfer.fusion.measure import AS_GIVEN, ATTENTION, FusionDifference, FusionRow


def fusion(made: Fusion | None) -> list[PageSection]:
    """Accuracy by labels, paired differences, and the weights of encoders by class; no section without a file."""
    if made is None:
        return []
    tables: list[TextTable] = []
    grids = []
    first = next((row.method for row in made.rows if row.kind == ATTENTION), "")
    for target in dict.fromkeys(row.target for row in made.rows):
        rows = [row for row in made.rows if row.target == target]
        counts = list(dict.fromkeys(row.labels_per_class for row in rows))
        by = {(row.method, row.setting, row.labels_per_class): row for row in rows}
        methods = list(dict.fromkeys((row.kind, row.method, row.setting) for row in rows))
        draws = len(rows[0].accuracies)
        tables.append(
            TextTable(
                f"{target}: accuracy in % by labels a class, 95 % interval over {draws} draws of labels",
                ("method", "encoders", *(str(n) for n in counts)),
                [
                    [f"{kind}: {method}", setting, *(_cell(by.get((method, setting, n))) for n in counts)]
                    for kind, method, setting in methods
                ],
                heads=2,
            )
        )
        own = [d for d in made.differences if d.target == target]
        apart = {(d.a, d.b, d.labels_per_class): d for d in own}
        tables.append(
            TextTable(
                f"{target}: paired differences in points; * the interval over draws excludes zero",
                ("A", "B", *(str(n) for n in counts)),
                [
                    [named(a), named(b), *(_difference(apart.get((a, b, n))) for n in counts)]
                    for a, b in dict.fromkeys((d.a, d.b) for d in own)
                ],
                heads=2,
                folded=True,
            )
        )
        most = max(counts)
        weighed = by.get((first, AS_GIVEN, most))
        if weighed is not None and weighed.weights_by_class:
            short = [PurePath(encoder).name or encoder for encoder in weighed.encoders]
            names = list(short if len(set(short)) == len(short) else weighed.encoders)
            shares = np.array([*weighed.weights_by_class, weighed.weights])
            grids.append(Grid(f"{target}: {first}, {most} labels a class", [*weighed.classes, "all"], names, shares))
    return [
        PageSection(
            "fusion",
            "Are several encoders better than one?",
            [
                "Every method has the same draws of labels, and chooses what it chooses inside them. Intervals are over draws: "
                "they say nothing of other encoders.",
                *(f"{note[0].upper()}{note[1:]}." for note in made.notes),
            ],
            figures=[encoder_weights(grids)] if grids else [],
            tables=tables,
        )
    ]


def _cell(row: FusionRow | None) -> str:
    return "–" if row is None else f"{100 * row.mean:.1f} ± {100 * row.ci95:.1f}"


def _difference(one: FusionDifference | None) -> str:
    if one is None:
        return "–"
    return f"{100 * one.difference:+.1f} ± {100 * one.ci95:.1f}{'*' if one.is_told_apart else ''}"

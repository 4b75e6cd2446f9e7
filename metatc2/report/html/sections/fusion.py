"""Several encoders used together."""

from __future__ import annotations

import numpy as np

from metatc2.report.figures import Grid
from metatc2.report.figures.encoder_weights import encoder_weights
from metatc2.report.fusion_file import Fusion
from metatc2.report.fusion_rows import ByLabels, fusion_rows, sentence
from metatc2.report.html.page import PageSection, TextTable


def fusion(made: Fusion | None) -> list[PageSection]:
    """Accuracy by labels, paired differences, and the weights of encoders by class; no section without a file."""
    if made is None:
        return []
    tables: list[TextTable] = []
    grids = []
    for one in fusion_rows(made.rows, made.differences):
        caption = f"{one.target}: accuracy in % by labels a class, 95 % interval over {one.draws} draws of labels"
        tables.append(_by_labels(caption, ("method", "encoders"), one.accuracies))
        caption = f"{one.target}: paired differences in points; * the interval over draws excludes zero"
        tables.append(_by_labels(caption, ("A", "B"), one.differences, folded=True))
        if (weights := one.weights) is not None:
            names, shares = zip(*weights.lines, strict=True)
            title = f"{one.target}: {weights.attention}, {weights.labels} labels a class"
            grids.append(Grid(title, list(names), list(weights.encoders), np.array(shares)))
    return [
        PageSection(
            "fusion",
            "Are several encoders better than one?",
            [
                "Every method has the same draws of labels, and chooses what it chooses inside them. Intervals are over draws: "
                "they say nothing of other encoders.",
                *map(sentence, made.notes),
            ],
            figures=[encoder_weights(grids)] if grids else [],
            tables=tables,
        )
    ]


def _by_labels(caption: str, heads: tuple[str, str], made: ByLabels, *, folded: bool = False) -> TextTable:
    rows = [[*names, *cells] for names, cells in made.lines]
    return TextTable(caption, (*heads, *map(str, made.counts)), rows, heads=2, folded=folded)

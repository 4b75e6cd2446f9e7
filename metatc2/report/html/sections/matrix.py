"""Every source on every target."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from metatc2.report.figures import Grid, matrix
from metatc2.report.figures.axis import measure_words
from metatc2.report.html.page import PageSection
from metatc2.report.html.sections.transfer import column_name, not_measured
from metatc2.report.methods import Method
from metatc2.transfer import RANDOM_ENCODER, RAW_PIXELS

_GRIDS = 4


def transfer_matrix(methods: Sequence[Method]) -> PageSection:
    """A heat map a protocol, with its first head: methods and controls × targets."""
    cells_of: dict[str, dict[tuple[str, str], dict[int, float]]] = {}
    heads: dict[str, str] = {}
    sources: dict[str, int] = {}
    for method in methods:
        for folder in method.folders:
            for row in folder.rows or []:
                if row.features not in ("encoder", RANDOM_ENCODER, RAW_PIXELS):
                    continue
                protocol = measure_words(row)
                if heads.setdefault(protocol, row.head) != row.head:
                    continue
                source = column_name(method, methods, row)
                if row.features == "encoder":
                    source = f"{method.name}\nfrom {row.source}"
                sources[source] = ("encoder", RANDOM_ENCODER, RAW_PIXELS).index(row.features)
                cells_of.setdefault(protocol, {}).setdefault((source, row.target), {}).setdefault(folder.seed, row.mean)
    title, missing = "From every source to every target", not_measured(methods)
    targets = dict.fromkeys(target for cells in cells_of.values() for _, target in cells)
    if len(targets) < 2 and len(methods) < 2:
        needed = (
            "A matrix needs several targets or several methods: metatc2 transfer DIR --to SOURCE:SPLIT SOURCE:SPLIT"
        )
        return PageSection("matrix", title, missing=[needed, *missing])
    if not cells_of:
        return PageSection("matrix", title, missing=missing)
    ordered = sorted(sources, key=lambda source: sources[source])
    grids = [_grid(protocol, heads[protocol], cells, ordered) for protocol, cells in list(cells_of.items())[:_GRIDS]]
    paragraphs = []
    if len(cells_of) > _GRIDS:
        paragraphs.append(
            f"The first {_GRIDS} of {len(cells_of)} protocols are drawn; the transfer table has them all."
        )
    return PageSection("matrix", title, paragraphs, figures=[matrix(grids)], missing=missing)


def _grid(protocol: str, head: str, cells: dict[tuple[str, str], dict[int, float]], sources: Sequence[str]) -> Grid:
    targets = list(dict.fromkeys(target for _, target in cells))
    rows = [source for source in sources if any(name == source for name, _ in cells)]
    values = [[list(cells.get((source, target), {}).values()) for target in targets] for source in rows]
    means = [[float(np.mean(seeds)) if seeds else math.nan for seeds in line] for line in values]
    return Grid(protocol if head in protocol else f"{protocol}, {head}", rows, targets, np.array(means))

"""Images and those that an encoder finds most alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from torch import Tensor

from metatc2.report.figures.base import Drawn
from metatc2.report.figures.pictures import show_image


@dataclass(frozen=True, eq=False)
class Picture:
    """An image and what is on it.

    Args:
        image: uint8 ``(C, H, W)``.
        name: of its class.
    """

    image: Tensor
    name: str


@dataclass(frozen=True, eq=False)
class Neighborhood:
    """A query and its nearest images, the nearest first.

    Args:
        query: the image asked about.
        neighbors: the nearest others.
        similarity: cosine of each to the query.
    """

    query: Picture
    neighbors: Sequence[Picture]
    similarity: Sequence[float]


def neighbors(name: str, encoder: str, rows: Sequence[Neighborhood], about: str) -> Drawn:
    """Draw a line a query.

    Args:
        name: see `Drawn`.
        encoder: whose features.
        rows: at least one, all with as many neighbors.
        about: a sentence for the caption.
    """
    columns = 1 + len(rows[0].neighbors)
    figure = Figure(figsize=(1.0 * columns + 0.3, 1.24 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    right = 0
    table: list[tuple[str | int | float, ...]] = []
    for line, row in zip(axes, rows, strict=True):
        show_image(line[0], row.query.image, row.query.name)
        for rank, (axis, picture, s) in enumerate(zip(line[1:], row.neighbors, row.similarity, strict=True), 1):
            same = picture.name == row.query.name
            right += same
            show_image(axis, picture.image, picture.name, right=same)
            table.append((row.query.name, rank, picture.name, "right" if same else "wrong", s))
    total = len(table)
    described = "; ".join(f"{row.query.name}: {', '.join(p.name for p in row.neighbors)}" for row in rows)
    return Drawn(
        name=name,
        caption=f"{encoder}: first column the query, then its {columns - 1} nearest images by cosine. ✓ and a solid frame: "
        f"the same class; ✗ and a dashed frame: another. {right} of {total} are right. {about}",
        alt=f"Nearest images under {encoder}: {right} of {total} of the query's class. {described}.",
        figure=figure,
        columns=("query", "rank", "neighbor", "verdict", "cosine"),
        rows=table,
    )

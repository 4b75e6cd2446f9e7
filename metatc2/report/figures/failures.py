"""The images that an encoder gets wrong with the most confidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from metatc2.report.figures.base import Drawn
from metatc2.report.figures.neighbors import Picture
from metatc2.report.figures.pictures import show_image

_ACROSS = 4


@dataclass(frozen=True, eq=False)
class Misclassified:
    """A query that got a wrong class.

    Args:
        query: the image with its true class.
        chosen: the nearest image of the class chosen.
        share: of the vote that the class chosen got, in [0, 1].
    """

    query: Picture
    chosen: Picture
    share: float


def failures(name: str, encoder: str, cases: Sequence[Misclassified], about: str) -> Drawn:
    """Draw pairs: the query and the nearest image of the class chosen.

    Args:
        name: see `Drawn`.
        encoder: whose features.
        cases: at least one, the most confident first.
        about: a sentence for the caption.
    """
    across = min(_ACROSS, len(cases))
    lines = -(-len(cases) // across)
    figure = Figure(figsize=(2.15 * across, 1.55 * lines), layout="constrained")
    parts = figure.subfigures(lines, across, squeeze=False).flatten()
    for part, case in zip(parts, cases, strict=False):
        part.suptitle(f"{100 * case.share:.0f} % of the vote", fontsize=8)
        left, right = part.subplots(1, 2)
        show_image(left, case.query.image, case.query.name)
        show_image(right, case.chosen.image, case.chosen.name, right=False)
    described = "; ".join(f"{c.query.name} taken for {c.chosen.name} ({100 * c.share:.0f} %)" for c in cases)
    return Drawn(
        name=name,
        caption=f"{encoder}: wrong with the most confidence. Left of each pair the query and its true class, right (✗, dashed "
        f"frame) the nearest image of the class chosen instead. {about}",
        alt=f"The {len(cases)} most confident errors of {encoder}: {described}.",
        figure=figure,
        columns=("true class", "chosen class", "share of the vote"),
        rows=[(c.query.name, c.chosen.name, c.share) for c in cases],
    )

"""Which known factors the features tell."""

from __future__ import annotations

from collections.abc import Sequence

from metatc2.report.html.page import PageSection, TextTable
from metatc2.report.methods import Method


def known_factors(methods: Sequence[Method]) -> list[PageSection]:
    """A line a run and kind of features, a column a factor; no section where no run was diagnosed on known factors."""
    lines = [
        (f"{method.name}, seed {folder.seed}", kind, cells)
        for method in methods
        for folder in method.folders
        for kind, cells in folder.known_factors.items()
    ]
    names = list(dict.fromkeys(name for _, _, cells in lines for name in cells))
    if not names:
        return []
    rows = [
        (
            run,
            kind,
            *(f"{100 * cells[name][0]:.1f}\n({100 * cells[name][1]:.1f})" if name in cells else "" for name in names),
        )
        for run, kind, cells in lines
    ]
    caption = (
        "Linear probes of frozen features, in %: accuracy of shape and other lists, else R². In brackets: less what "
        "probes of shuffled labels get."
    )
    return [
        PageSection(
            "known-factors",
            "Which factors of the images do the features tell?",
            ["The images were rendered, so what they were made from is known exactly."],
            tables=[TextTable(caption, ("run", "features", *names), rows, heads=2)],
        )
    ]

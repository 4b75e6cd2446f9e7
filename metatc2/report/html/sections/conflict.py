"""Whether tasks are in conflict beyond noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from metatc2.report.figures import conflict
from metatc2.report.html.page import PageSection
from metatc2.report.methods import Method, lacking


def task_conflict(methods: Sequence[Method]) -> PageSection:
    """Conflict of every run that has been diagnosed, beside its noise null."""
    measures = [
        replace(measure, run=f"{method.name}, seed {folder.seed}")
        for method in methods
        for folder in method.folders
        for measure in folder.conflict or []
    ]
    own = [folder for method in methods for folder in method.folders if not folder.elsewhere]
    undiagnosed = [folder for folder in own if not folder.conflict]
    return PageSection(
        "conflict",
        "Are tasks in conflict?",
        [
            "Any split of a batch shows some conflict between its parts. What counts is conflict beyond that of random splits."
        ],
        figures=[conflict(measures)] if measures else [],
        missing=lacking(undiagnosed, "No task conflict measured", "diagnose"),
    )

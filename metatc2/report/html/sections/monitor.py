"""What the monitor saw while encoders were trained."""

from __future__ import annotations

from collections.abc import Sequence

from metatc2.experiment.monitor import agreement
from metatc2.report.figures.coding_rate import Monitored, coding_rate
from metatc2.report.html.page import PageSection, TextTable
from metatc2.report.methods import Method

_MOST = 4  # columns of the figure


def monitored(methods: Sequence[Method]) -> list[PageSection]:
    """ΔR of every stage over training, beside the probe; no section where no run was monitored."""
    folders = [
        (f"{method.name}, seed {folder.seed}", folder)
        for method in methods
        for folder in method.folders
        if folder.monitor
    ]
    if not folders:
        return []
    runs = []
    for name, folder in folders[:_MOST]:
        measured = folder.monitor
        stages, probed = list(measured[0].rate_reduction), [m for m in measured if m.knn]
        runs.append(
            Monitored(
                name,
                [m.step for m in measured],
                {stage: [m.rate_reduction[stage] for m in measured] for stage in stages},
                {s: [m.knn[s] for m in measured] for s in stages} if len(probed) == len(measured) else {},
            )
        )
    rows = [[name, stage, _shown(r)] for name, folder in folders for stage, r in agreement(folder.monitor).items()]
    paragraphs: list[str | tuple[str, str]] = [
        "A fall of ΔR in late stages was read as memorization. What is drawn is late-layer specialization; where it goes with "
        "the accuracy of the probe, the correlation below is near 1."
    ]
    for name, folder in folders:
        if folder.monitor[-1].step < folder.config.trainer.steps:
            paragraphs.append(
                (f"{name}:", f"measured up to step {folder.monitor[-1].step} of {folder.config.trainer.steps}.")
            )
    if len(folders) > _MOST:
        paragraphs.append(f"Drawn are the first {_MOST} of {len(folders)} runs that were monitored.")
    tables = [
        TextTable(
            "Correlation of ΔR with the probe over training, by stage",
            ("run", "stage", "r"),
            rows,
            heads=2,
            folded=True,
        )
    ]
    return [PageSection("monitor", "How stages specialized", paragraphs, [coding_rate(runs)], tables if rows else [])]


def _shown(r: float) -> str:
    return f"{r:.2f}" if r == r else "too few measurements"

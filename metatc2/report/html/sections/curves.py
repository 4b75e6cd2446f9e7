"""How training went."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metatc2.report.figures import learning_curves, thinned
from metatc2.report.figures.demo import MethodCurve
from metatc2.report.figures.online_measures import online_measures
from metatc2.report.html.page import PageSection
from metatc2.report.html.sections.online import online_curves
from metatc2.report.methods import Method, lacking
from metatc2.training.run_folder import RunFolder, State

_POINTS = 200


def curves(methods: Sequence[Method]) -> PageSection:
    """Loss of every method over the steps that all its seeds have logged, and what was measured along the way."""
    silent = [folder for method in methods for folder in method.folders if not (folder.metrics or folder.elsewhere)]
    finished = [folder for folder in silent if RunFolder(folder.path).state is State.FINISHED]
    missing = lacking([f for f in silent if f not in finished], "No records of the training", "pretrain", "--resume")
    if finished:
        paths = ", ".join(str(folder.path) for folder in finished)
        missing.append(
            f"No records of the training: {paths}. They are made while a run trains, and these are finished."
        )
    drawn: list[MethodCurve] = []
    paragraphs: list[str | tuple[str, str]] = []
    for method in methods:
        logged = [folder for folder in method.folders if folder.metrics]
        by_step = [{record["step"]: record["loss"] for record in folder.metrics} for folder in logged]
        steps = sorted(set.intersection(*map(set, by_step))) if by_step else []
        if steps:
            losses = np.array([[losses[step] for step in steps] for losses in by_step])
            drawn.append(thinned(MethodCurve(method.name, steps, losses), _POINTS))
        elif by_step:
            missing.append(f"The seeds of {method.name} have no step in common: give them one trainer.log_every.")
        for folder in logged:
            alarms = {name: text for record in folder.metrics for name, text in record.get("alarms", {}).items()}
            paragraphs += [(f"Alarm in {folder.path}:", f"{text}.") for text in alarms.values()]
    if any(len(curve.steps) == _POINTS for curve in drawn):
        paragraphs.append(f"Long runs are drawn in {_POINTS} points, each the mean of the steps around it.")
    measured = online_curves(methods)
    return PageSection(
        "training",
        "How training went",
        paragraphs,
        figures=[*([learning_curves(drawn)] if drawn else []), *([online_measures(measured)] if measured else [])],
        missing=missing,
    )

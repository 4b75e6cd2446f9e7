"""What `Online` measured of runs, as curves."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from metatc2.report.figures.online_measures import MeasuredCurve
from metatc2.report.methods import Folder, Method

_PREFIX = "online_"


def online_curves(methods: Sequence[Method]) -> list[MeasuredCurve]:
    """A curve for each method and measure, at the steps that all its measured seeds have."""
    curves = []
    for method in methods:
        by_seed = [measured for folder in method.folders if (measured := _measured(folder))]
        for measure in dict.fromkeys(name for measured in by_seed for name in measured):
            of_seeds = [measured[measure] for measured in by_seed if measure in measured]
            steps = sorted(set.intersection(*map(set, of_seeds)))
            if steps:
                values = np.array([[values[step] for step in steps] for values in of_seeds])
                curves.append(MeasuredCurve(method.name, measure, steps, values))
    return curves


def _measured(folder: Folder) -> dict[str, dict[int, float]]:
    """By measure and step."""
    measured: dict[str, dict[int, float]] = {}
    for record in folder.metrics:
        for name, value in record.items():
            if name.startswith(_PREFIX) and type(value) in (int, float) and math.isfinite(value):
                measured.setdefault(name.removeprefix(_PREFIX), {})[record["step"]] = float(value)
    return measured

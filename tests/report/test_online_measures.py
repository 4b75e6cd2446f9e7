"""What `Online` wrote into the records, beside the loss: seeds together, methods apart, nothing where nothing was measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from metatc2.experiment.config import Config
from metatc2.report.figures.online_measures import online_measures
from metatc2.report.html.sections.curves import curves
from metatc2.report.html.sections.online import online_curves
from metatc2.report.methods import Folder, Method


def folder(name: str, values: dict[int, dict[str, object]]) -> Folder:
    records = [{"step": step, "loss": 1.0, **measured} for step, measured in values.items()]
    return Folder(Path(name), Config(), records, None, None)


SEEDS = [
    folder("a-s0", {5: {}, 6: {"online_knn": 0.2, "online_rankme": 3}, 12: {"online_knn": 0.6, "online_rankme": 5}}),
    folder("a-s1", {6: {"online_knn": 0.4}, 9: {"online_knn": 0.9}, 12: {"online_knn": 0.8}}),
    folder("a-s2", {5: {"loss_of_mine": 1.0, "online_knn": True}, 6: {"online_rankme": float("nan")}}),
]


def test_seeds_are_one_curve_at_the_steps_that_all_have() -> None:
    knn, rankme = online_curves([Method("a", SEEDS)])
    assert (knn.measure, knn.steps) == ("knn", [6, 12])
    np.testing.assert_array_equal(knn.values, [[0.2, 0.6], [0.4, 0.8]])
    assert (rankme.measure, rankme.steps) == ("rankme", [6, 12])
    np.testing.assert_array_equal(rankme.values, [[3, 5]])


def test_a_panel_a_measure_and_a_line_a_method() -> None:
    methods = [Method("a", SEEDS), Method("b <i>", [folder("b", {4: {"online_knn": 0.1, "online_mine": 7.0}})])]
    drawn = online_measures(online_curves(methods))
    axes = [axis for axis in drawn.figure.axes if axis.axison]
    assert [axis.get_ylabel() for axis in axes] == ["k-NN accuracy, %", "RankMe", "mine"]
    assert [len(axis.lines) for axis in axes] == [2, 1, 1]
    np.testing.assert_allclose(axes[0].lines[0].get_ydata(), [30, 70])
    assert ("knn", "b <i>", 4, 0.1, 0.1, 0.1, 1) in drawn.rows


def test_only_runs_that_were_measured_are_drawn() -> None:
    plain = Method("plain", [folder("p", {1: {}, 2: {}})])
    assert [figure.name for figure in curves([plain]).figures] == ["learning-curves"]
    assert [figure.name for figure in curves([Method("a", SEEDS[:2])]).figures] == [
        "learning-curves",
        "online-measures",
    ]

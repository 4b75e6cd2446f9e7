"""The measurement of fusion: draws are paired, what is chosen sees labels that are given alone, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from metatc2.errors import InputError
from metatc2.transfer.fusion import FitOptions
from metatc2.transfer.fusion import draws as label_draws
from metatc2.transfer.fusion.measure import (
    AS_GIVEN,
    EQUAL_COMPUTE,
    ONE_TWICE,
    WITH_UNTRAINED,
    FusionDifference,
    FusionTarget,
    differences,
    measure_fusion,
)


def target(seed: int = 0, shift: float = 0.0) -> FusionTarget:
    """Two encoders of three classes, 20 images each: 10 to draw labels from and 10 to test on."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(3).repeat(20)
    told = torch.eye(3, 6)[labels]
    noise = [torch.randn(60, 6, generator=generator) for _ in range(4)]
    return FusionTarget(
        "toy",
        {"good": 3 * told + noise[0] + shift, "poor": told + noise[1] + shift},
        labels,
        torch.arange(30),
        torch.arange(30, 60),
        ("a", "b", "c"),
        untrained=noise[2],
        equal_compute=2 * told + noise[3],
    )


@pytest.fixture(autouse=True)
def few_penalties(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is a fit of every encoder on every fold of every draw."""
    monkeypatch.setattr("metatc2.transfer.fusion.labeled.C_GRID", (1.0, 100.0))


BRIEF = FitOptions(steps=12, rate=0.05, decays=(0.01,))
SOME = {"options": BRIEF, "attentions": ("static",), "baselines": ("mean-of-logits", "stacking"), "draws": 3}


@pytest.mark.slow
def test_rows_are_paired_by_draw_and_the_same_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metatc2.transfer.fusion.labeled.C_GRID", (10.0,))
    rows = measure_fusion(target(), labels_per_class=(1, 4), **SOME)
    assert [(row.labels_per_class, row.method, row.setting) for row in rows[:10]] == [
        (1, "static", AS_GIVEN),
        (1, "mean-of-logits", AS_GIVEN),
        (1, "stacking", AS_GIVEN),
        (1, "alone: good", AS_GIVEN),
        (1, "alone: poor", AS_GIVEN),
        (1, EQUAL_COMPUTE, AS_GIVEN),
        (1, "static", WITH_UNTRAINED),
        (1, "mean-of-logits", WITH_UNTRAINED),
        (1, "static", ONE_TWICE),
        (1, "mean-of-logits", ONE_TWICE),
    ]
    again = measure_fusion(
        target(), labels_per_class=(4,), **{**SOME, "attentions": ("random", "static")}, probes=False
    )
    known = {(row.method, row.setting, row.labels_per_class): row.accuracies for row in rows}
    # Others that are measured beside, and other numbers of labels, change nothing.
    for row in again:
        if row.method != "random":
            assert known[row.method, row.setting, 4] == row.accuracies
    own = {(row.method, row.setting): row.accuracies for row in rows if row.labels_per_class == 4}
    for d in differences(rows):
        if d.labels_per_class == 4:
            a, b = (np.array(own[key]) for key in (d.a, d.b))
            low, high = stats.t.interval(0.95, 2, (a - b).mean(), stats.sem(a - b)) if (a - b).std() else (0, 0)
            assert d.difference == pytest.approx((a - b).mean())
            assert d.ci95 == pytest.approx((high - low) / 2, abs=1e-9)
            assert d.is_told_apart == (abs(d.difference) > d.ci95)
    by_name = {row.method: row.mean for row in rows if row.labels_per_class == 4 and row.setting == AS_GIVEN}
    assert by_name["alone: good"] > by_name["alone: poor"] + 0.1


@pytest.mark.slow
def test_weights_by_class_are_means_of_those_of_images() -> None:
    rows = measure_fusion(
        target(), labels_per_class=(5,), attentions=("sample",), baselines=("sur",), draws=2, options=BRIEF
    )
    row = next(row for row in rows if row.method == "sample" and row.setting == WITH_UNTRAINED)
    assert row.encoders == ("good", "poor", "an untrained encoder")
    assert row.classes == ("a", "b", "c")
    weights = np.array(row.weights_by_class)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(weights.mean(0), row.weights, atol=1e-6)  # as many test images of each class
    assert all(set(chosen) == {"entropy", "decay"} for chosen in row.chosen)
    assert all(seconds >= 0 for seconds in (row.seconds,))


def test_nothing_is_learned_from_test_images() -> None:
    """Other features, and in the pool other rows than those drawn, leave what is chosen and learned as it was."""
    one, other = target(), target()
    drawn = {row for draw in range(2) for row in label_draws.label_draw(one.labels[:30], 2, "toy", draw).tolist()}
    for block in other.features.values():
        block[[row for row in range(30) if row not in drawn]] += 1000
    options = {
        "labels_per_class": (2,),
        "baselines": ("stacking", "concatenation-ridge"),
        "attentions": ("sample",),
        "draws": 2,
        "probes": False,
        "options": BRIEF,
    }
    first, second = (measure_fusion(given, **options) for given in (one, other))
    assert [(r.accuracies, r.chosen) for r in first] == [(r.accuracies, r.chosen) for r in second]


def test_draws_are_nested_stratified_and_differ() -> None:
    labels = torch.arange(40) % 4
    seen = []
    for draw in range(5):
        few, many = (label_draws.label_draw(labels, count, "toy", draw) for count in (3, 7))
        assert labels[few].bincount().tolist() == [3] * 4
        assert labels[many].bincount().tolist() == [7] * 4
        assert set(few.tolist()) <= set(many.tolist())
        seen.append(tuple(many.tolist()))
    assert len(set(seen)) == 5


def test_what_is_refused() -> None:
    good = target()
    one = FusionTarget("toy", {"good": good.features["good"]}, good.labels, good.pool, good.test)
    with pytest.raises(InputError, match="needs at least two encoders, got 1"):
        measure_fusion(one, labels_per_class=(1,))
    short = FusionTarget("toy", {**good.features, "short": torch.ones(59, 2)}, good.labels, good.pool, good.test)
    with pytest.raises(InputError, match="features of short have 59 rows and toy has 60 images"):
        measure_fusion(short, labels_per_class=(1,))
    with pytest.raises(InputError, match="draws must be at least 2, got 1"):
        measure_fusion(good, labels_per_class=(1,), draws=1)
    with pytest.raises(
        InputError, match="class 'b' has 2 images to draw labels from and 3 were asked for; ask for at most 2"
    ):
        label_draws.check_labels(torch.tensor([0, 0, 0, 1, 1]), (1, 3), "toy", ("a", "b"))


def test_two_draws_tell_nothing_apart() -> None:
    of = ("toy", 1, ("a", ""), ("b", ""), 0.1, 0.0)
    assert not FusionDifference(*of, draws=2).is_told_apart
    assert FusionDifference(*of, draws=3).is_told_apart

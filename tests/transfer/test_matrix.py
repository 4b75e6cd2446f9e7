"""The transfer matrix: means and intervals by hand, controls, and what must not stand in one matrix."""

from __future__ import annotations

from typing import Any

import pytest
from scipy import stats

from metatc2.errors import InputError
from metatc2.transfer import Row, RunResults, transfer_matrices

from ..result_rows import row_of


def row(target: str, mean: float, **changes: Any) -> Row:
    return row_of(
        **{"protocol": "few-shot", "source": "latin", "target": target, "split": "s", "way": 5, "shot": 1, "query": 15}
        | {"episodes": 50, "head": "cosine", "mean": mean, "ci95": 0.1, "seed": 0, "encoder_sha256": "x"}
        | changes
    )


def test_sources_on_targets_with_controls_below() -> None:
    seeds = {0: 0.50, 1: 0.56, 2: 0.59}
    runs = [
        RunResults(f"a{s}", "tc2", s, [row("greek", m), row("greek", 0.3 + s / 100, features="random encoder"),
                                row("greek", 0.4, features="raw pixels")])
        for s, m in seeds.items()
    ]  # fmt: skip
    runs.append(RunResults("b0", "plain", 0, [row("greek", 0.52), row("thai", 0.61, source="thai")]))
    (found,) = transfer_matrices(runs)
    assert found.sources == ("tc2 from latin", "plain from latin", "plain from thai", "random encoder", "raw pixels")
    assert found.targets == ("greek", "thai")
    cell = found.cells["tc2 from latin", "greek"]
    interval = stats.ttest_1samp(list(seeds.values()), 0).confidence_interval()
    assert cell.mean == pytest.approx(0.55)
    assert cell.ci95 == pytest.approx((interval.high - interval.low) / 2)
    assert cell.seeds == (0, 1, 2)
    assert found.cells["plain from latin", "greek"].ci95 is None
    assert found.cells["random encoder", "greek"].mean == pytest.approx(0.31)
    assert found.cells["raw pixels", "greek"].ci95 is None
    assert ("tc2 from latin", "thai") not in found.cells


def test_protocols_stand_apart() -> None:
    rows = [row("x", 0.5), row("x", 0.6, shot=5), row("x", 0.7, head="euclidean"), row("x", 0.8, setting="1 %")]
    assert [m.cells["a from latin", "x"].mean for m in transfer_matrices([RunResults("r", "a", 0, rows)])] == [
        0.5,
        0.6,
        0.7,
        0.8,
    ]


def test_errors() -> None:
    a, b = (RunResults(s, s, 0, [row("x", 0.5, target_sha256=s)]) for s in "ab")
    with pytest.raises(InputError, match="x stands for different images"):
        transfer_matrices([a, b])
    with pytest.raises(InputError, match="no result of features 'calibrated'"):
        transfer_matrices([a], features="calibrated")


def test_random_encoders_of_two_architectures_are_two_controls() -> None:
    runs = [
        RunResults(name, name, 0, [row("x", 0.5), row("x", mean, features="random encoder")])
        for name, mean in (("conv4", 0.2), ("resnet", 0.3))
    ]
    (found,) = transfer_matrices(runs)
    assert found.sources[2:] == ("random encoder of conv4", "random encoder of resnet")


def test_raw_pixels_of_two_sizes_are_two_controls() -> None:
    runs = [
        RunResults(name, name, 0, [
            row("x", 0.5, features=features, target_sha256=name, originals_sha256="o", image_shape=shape)
            for features in ("encoder", "raw pixels")
        ])
        for name, shape in (("conv4", "1 × 28 × 28"), ("resnet", "3 × 64 × 64"))
    ]  # fmt: skip
    (found,) = transfer_matrices(runs)
    assert found.sources[2:] == ("raw pixels of 1 × 28 × 28", "raw pixels of 3 × 64 × 64")

"""Scripts of speed and scale: they run, they say what is missing, and their tables are of their rows."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import accelerator
import cost_tables
import scaling


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is an accelerator")
def test_without_an_accelerator_one_sentence_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        accelerator.main([])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "no accelerator here" in said


@pytest.mark.slow
def test_all_but_the_device_can_be_tried(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    accelerator.main(["--device", "cpu", "--tiny", "--part", "parity", "cost", "--json", str(path)])
    rows = json.loads(path.read_text())["rows"]
    parity = {row["learner"]: row for row in rows if row["part"] == "parity"}
    assert parity.keys() == accelerator.LEARNERS.keys()
    assert all(row["float64_distance"] < 1e-9 for row in parity.values())  # of the CPU to itself
    (cost,) = (row for row in rows if row["part"] == "cost")
    assert cost["tc2_over_plain"] > 0


def test_slopes_are_those_of_powers() -> None:
    sizes = [1, 2, 4, 8]
    assert scaling.slope(sizes, [5.0 * n**0.5 for n in sizes]) == pytest.approx(0.5)
    assert scaling.slope(sizes, [3.0] * 4) == pytest.approx(0)


def test_a_step_alone_sends_nothing_and_its_size_is_what_the_axis_says() -> None:
    size = scaling.Size(tasks=2, batch=16)
    made, data = scaling.trainer(size), scaling.episode(size)
    assert data.images.shape == (2, 8, 2, 1, scaling.IMAGE, scaling.IMAGE)
    with scaling.Messages() as messages:
        made.train_step(0, data)
    assert not messages.bytes
    # 16 images in 2 views, 32 features; moments of parts of 16 pixels, then 3 norms of 32 channels; 2 ranks.
    trained = sum(p.numel() for p in made.learner.parameters() if p.requires_grad)
    gathered, summed = 32 * 32 + 2 * (16 * 18 + 3 * 96), 32 * 32 + 2 * 96 + trained
    assert scaling.expected_bytes(size, made, 2) == {"allgather": 4 * gathered, "allreduce": 4 * summed}


def test_committed_slopes_are_linear_or_better() -> None:
    rows = json.loads((Path(scaling.__file__).parent / "results" / "scaling.json").read_text())["rows"]
    slopes = {row["axis"]: row for row in rows if "time_slope" in row}
    assert slopes.keys() == {*scaling.AXES, "ranks"}
    for axis in scaling.AXES:
        assert slopes[axis]["time_slope"] <= 1.1, axis
        assert slopes[axis]["memory_slope"] <= 1.05, axis
    counted, expected = slopes["ranks"]["bytes"], slopes["ranks"]["expected_bytes"]
    for kind, count in expected.items():
        assert counted[kind] == pytest.approx(count, rel=0.01), kind
    assert cost_tables.scaling(rows).count("\n") == len(slopes) + 1

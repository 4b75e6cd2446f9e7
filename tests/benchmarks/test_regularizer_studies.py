"""How the studies of regularizers pair and show: `default_regularizer.py` and `conflict_few_shot.py`."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

STUDIES = Path(__file__).resolve().parents[2] / "benchmarks" / "studies"


@pytest.fixture
def default(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(STUDIES)
    import default_regularizer

    return default_regularizer


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(STUDIES)
    import conflict_few_shot

    return conflict_few_shot


def test_every_cell_can_be_built_and_named_apart(default: Any, tmp_path: Path) -> None:
    cells = [default.cell(tmp_path, task, arm, 0) for task in default.TARGETS for arm in default.ARMS]
    assert len({cell.path for cell in cells}) == len(cells) == 10
    weights = {cell.config.value("regularizer.weight") for cell in cells}
    assert weights == {None, 0.03, 0.3, 1.0}  # named, for a default may move


def test_arms_are_paired_with_none_by_seed(default: Any) -> None:
    values = {("none", 0): (0.2, 0.4), ("none", 1): (0.3, 0.3), ("VISReg, weight 1", 0): (0.5, 0.3)}
    rows = [
        {"task": "glyphs", "arm": arm, "seed": seed, "accuracy": {"a": a, "b": b}}
        for (arm, seed), (a, b) in values.items()
    ]
    assert default.means(rows, "glyphs", "none") == pytest.approx({0: 0.3, 1: 0.3})
    (line,) = [line for line in default.table(rows).splitlines() if line.startswith("| VISReg, weight 1")]
    assert line == "| VISReg, weight 1 | 40.0 | +10.0 (1) | – | – | 1/0 |"


@pytest.mark.slow
def test_few_shot_is_of_combinations_that_were_not_learned(shared: Any) -> None:
    """Pixels are above chance, constant features at it, and more shots help."""
    pixels = shared.accuracies(nn.Flatten())

    class Constant(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.ones(len(images), 3)

    constant = shared.accuracies(Constant())
    assert 0.15 < constant["1"] < 0.25
    assert pixels["1"] > constant["1"]
    assert pixels["5"] > pixels["1"]


def test_the_table_is_against_one_head(shared: Any) -> None:
    rows = [
        {"arm": arm, "seed": seed, "accuracy": {"1": value, "5": value + 0.1}}
        for arm, values in {"one head": (0.6, 0.5), "TC²": (0.5, 0.5)}.items()
        for seed, value in enumerate(values)
    ]
    (line,) = [line for line in shared.table(rows).splitlines() if line.startswith("| TC²")]
    assert line.startswith("| TC² | 50.0 | -5.0")

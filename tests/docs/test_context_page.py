"""What docs/context.md shows runs, and its command is one that there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "context.md"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::metatc2.training.HealthWarning")  # six steps are no training
def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    exec(compile(block, str(PAGE), "exec"), {})
    shapes, weights, rows = capsys.readouterr().out.splitlines()
    assert shapes == "(8, 2, 3, 32, 32) (5, 8)"
    assert len(set(weights.strip("[]").split(", "))) > 1
    assert rows == "[('encoder', 0), ('calibrated', 8), ('random encoder', 0), ('raw pixels', 0)]"

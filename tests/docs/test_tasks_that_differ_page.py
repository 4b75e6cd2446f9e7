"""What docs/tasks-that-differ.md shows runs and prints what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tasks-that-differ.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
PRINTED = {
    "RecipeTasks": ["color [1.0, 0.0, 0.0, 0.0]", "(4, 4, 2, 3, 32, 32)"],
    "DomainTasks": ["background ", "True"],
    "FactorTasks": ["hue", "nothing more"],
}


@pytest.mark.usefixtures("few_shapes")
@pytest.mark.parametrize("sampler", PRINTED)
def test_examples_run(sampler: str, capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = (block for block in BLOCKS if f"import {sampler}\n" in block)
    exec(compile(block, str(PAGE), "exec"), {})
    printed = capsys.readouterr().out
    assert all(words in printed for words in PRINTED[sampler])

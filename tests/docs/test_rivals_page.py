"""What the page on rivals shows runs, and it knows all of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from metatc2.conditioning import TOLD
from metatc2.learners.aggregators.registry import AGGREGATORS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "rivals.md").read_text()


@pytest.mark.filterwarnings("ignore::metatc2.training.HealthWarning")
def test_examples_run(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torchjd")
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        names: dict[str, object] = {}
        for block in blocks:
            exec(compile(block, "rivals.md", "exec"), names)
    printed = capsys.readouterr().out
    assert "torch.Size([2, 32])" in printed
    assert "'opposed'" in printed


@pytest.mark.parametrize("name", [*TOLD, *AGGREGATORS])
def test_every_name_is_on_the_page(name: str) -> None:
    assert f"`{name}`" in PAGE

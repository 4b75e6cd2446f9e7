"""What the README shows runs, and its numbers are those of the committed results."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from .command_line import run_script

ROOT = Path(__file__).resolve().parent.parent
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


def test_the_first_example_is_short() -> None:
    assert len(BLOCKS[0].strip().splitlines()) <= 25


@pytest.mark.filterwarnings("ignore::metatc2.trainer.HealthWarning")
@pytest.mark.parametrize("block", BLOCKS, ids=["first example", "labelled tasks", "plug-in"])
def test_examples_run(block: str, capsys: pytest.CaptureFixture[str], seed_offset: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(seed_offset)
        exec(compile(block, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    if "evaluate" in block:
        accuracy = [float(word) for word in re.findall(r"(0\.\d+) ±", printed)]
        assert len(accuracy) == 8  # encoder and raw pixels, two heads, two shots
        assert all(a > 0.3 for a in accuracy)  # 5-way chance is 0.2
    elif "LabelledTasks" in block:
        accuracy = [float(word) for word in re.findall(r"'accuracy': ([\d.]+)", printed)]
        assert len(accuracy) == 2
        assert all(a > 0.3 for a in accuracy)


def test_tables_are_those_of_the_results() -> None:
    assert run_script(ROOT / "benchmarks" / "tables.py", "--check") == 0, "run: python benchmarks/tables.py"


@pytest.mark.filterwarnings("ignore")  # of the peers that some of them import
def test_every_benchmark_says_how_to_run_it(capsys: pytest.CaptureFixture[str]) -> None:
    benchmarks = ("step_cost", "few_shot_speed", "demo", "glyphs_fewshot", "episodes_speed", "adjoint_memory")
    studies = ("recipes", "evidence", "spectrum", "ablation", "mechanism", "recovery")
    for name in (*benchmarks, *studies, "gradient_parity", "robustness"):
        script = ROOT / "benchmarks" / f"{name}.py"
        assert run_script(script, "--help") == 0, name
        assert "--json" in capsys.readouterr().out, name

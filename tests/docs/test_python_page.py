"""What docs/python.md shows runs: its programs, then its commands on the run that the first one made."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch

from ..command_line import call

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "python.md").read_text()
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = re.findall(r"^metatc2 (.*)$", PAGE, re.MULTILINE)


def run(program: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        exec(compile(program, "example", "exec"), {"__name__": "example"})


@pytest.mark.filterwarnings("ignore::metatc2.training.HealthWarning")
@pytest.mark.slow
def test_the_run_and_its_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run(PROGRAMS[0])
    assert {"val_loss", "online_knn", "online_lidar"} <= set(eval(capsys.readouterr().out.splitlines()[-1]))
    on_the_run = [line for line in COMMANDS if "runs/mine" in line]
    assert len(on_the_run) == 3
    for line in on_the_run:
        words = shlex.split(line)
        assert call(*words, *(["--episodes", "5"] if words[0] == "transfer" else [])) == 0
    assert (tmp_path / "my-encoder" / "model.safetensors").exists()
    assert "simclr, averaged" in (tmp_path / "report.html").read_text()


@pytest.mark.filterwarnings("ignore::metatc2.training.HealthWarning")
@pytest.mark.parametrize("program", PROGRAMS[1:], ids=["episodes", "results", "fabric"])
def test_the_other_programs(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(program)
    assert capsys.readouterr().out

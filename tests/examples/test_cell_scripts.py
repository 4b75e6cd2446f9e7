"""The scripts that are written as cells run as they stand, are short, and print what they promise."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ..command_line import run_script

EXAMPLES = Path(__file__).parents[2] / "examples"
pytestmark = pytest.mark.filterwarnings("ignore::metatc2.training.HealthWarning")  # two steps are no training


def lines(name: str, capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    script = EXAMPLES / f"{name}.py"
    assert len(script.read_text().splitlines()) <= 90
    assert run_script(script, *words) == 0
    return capsys.readouterr().out.splitlines()


@pytest.mark.slow
def test_few_shot_of_a_module(capsys: pytest.CaptureFixture[str]) -> None:
    printed = lines("few_shot_of_a_module", capsys, "--steps", "2", "--episodes", "4")
    found = [re.fullmatch(r"([a-z ]+): Greek 5-way ([15])-shot ([\d.]+) ± [\d.]+ %", line) for line in printed]
    assert all(found)
    names = [(match[1], match[2]) for match in found if match]
    assert names == [(name, shot) for shot in "15" for name in ("encoder", "random encoder", "raw pixels")]


@pytest.mark.slow
def test_compare_objectives(capsys: pytest.CaptureFixture[str]) -> None:
    printed = lines("compare_objectives", capsys, "--steps", "2", "--episodes", "4")
    found = [re.fullmatch(r"([\w ]+): [\d.]+ %, over raw pixels ([+-][\d.]+) ± [\d.]+", line) for line in printed]
    assert [match[1] for match in found if match] == [
        "random encoder",
        "SimCLR",
        "Barlow Twins",
        "VISReg",
        "raw pixels",
    ]
    last = found[-1]
    assert last is not None
    assert last[2] == "+0.0"


@pytest.mark.slow
def test_fused_encoders(capsys: pytest.CaptureFixture[str]) -> None:
    printed = lines("fused_encoders", capsys, "--steps", "2", "--draws", "2", "--labels", "1")
    methods = [
        match[1] for line in printed if (match := re.match(r"1 labels a class, ([^:]+(?:: \w+)?): [\d.]+ ±", line))
    ]
    assert {"sample", "concatenation-ridge"} <= set(methods)
    (weighed,) = [line for line in printed if ", sample:" in line]
    weights = [float(weight) for weight in re.findall(r" (0\.\d\d|1\.00)(?:,|$)", weighed)]
    assert len(weights) == 3
    assert sum(weights) == pytest.approx(1, abs=0.02)

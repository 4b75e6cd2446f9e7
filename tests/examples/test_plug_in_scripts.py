"""The scripts that plug TC² into other set-ups run as they stand, are short, and print what they promise."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from ..command_line import run_script
from ..covering import some

# A few steps: factors explain nothing yet.
pytestmark = pytest.mark.filterwarnings("ignore::metatc2.training.HealthWarning")

EXAMPLES = Path(__file__).parents[2] / "examples"
SCRIPTS = sorted(path.name for path in EXAMPLES.glob("tc2_in_*.py"))
WITH_TC2 = ("tc2_in_learn2learn.py", "tc2_in_plain_pytorch.py")  # the others have one calibrator for all tasks


def test_all_four_are_there_and_short() -> None:
    assert SCRIPTS == [
        "tc2_in_learn2learn.py",
        "tc2_in_maml.py",
        "tc2_in_plain_pytorch.py",
        "tc2_in_protonet.py",
    ]
    assert all(len((EXAMPLES / name).read_text().splitlines()) <= 90 for name in SCRIPTS)


@pytest.mark.parametrize("script", SCRIPTS)
def test_it_says_what_is_plugged_in(script: str) -> None:
    source = (EXAMPLES / script).read_text()
    told = ast.get_docstring(ast.parse(source))
    assert told is not None
    learner, shared = ("What is plugged in is " + what for what in ("the learner `metatc2.TC2`", "`calibrated("))
    assert (learner in told, shared in told) == ("mt.TC2(" in source, "calibrated(encoder" in source.replace(told, ""))


@pytest.mark.parametrize("script", some(SCRIPTS, WITH_TC2))
@pytest.mark.parametrize("calibrates", some((True, False), (True,)))
def test_script_runs(script: str, calibrates: bool, capsys: pytest.CaptureFixture[str]) -> None:
    calibration = ("tc2" if script in WITH_TC2 else "shared") if calibrates else "none"
    words = ["--calibration", calibration, "--steps", "3", "--episodes", "4"]
    assert run_script(EXAMPLES / script, *words) == 0
    printed = capsys.readouterr().out
    found = re.findall(rf"calibration {calibration}: Greek 5-way 1-shot ([\d.]+) ± ([\d.]+) %", printed)
    assert len(found) == 1
    assert 0 <= float(found[0][0]) <= 100

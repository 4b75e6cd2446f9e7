"""Completion scripts: they name every command and option, and bash completes by them."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from metatc2.cli.app import PARSER
from metatc2.io.registries import OBJECTIVES

from ..command_line import PATIENCE, call


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_a_script_names_every_command_option_and_objective(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("completion", shell) == 0
    script = capsys.readouterr().out
    words = set(re.sub(r"[()';]", " ", script).split())
    assert {"pretrain", "transfer", "doctor", "completion"} <= set(PARSER.names) <= words
    options = {option for names in PARSER.options.values() for option in names}
    dashes = 2 if shell == "tcsh" else 0  # its rule puts them before
    assert {option[dashes:] for option in options} <= words
    assert set(OBJECTIVES) | {"glyphs", "shapes"} <= words


def test_names_of_calibrations_are_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("config", "glyphs", "--calibration", "nothing") == 2
    said = capsys.readouterr().err
    assert all(name in said for name in PARSER.completions()["config"].values["--calibration"])


def test_another_shell_is_refused_in_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("completion", "fishy") == 2
    assert capsys.readouterr().err == (
        "metatc2: error: completion: no script for the shell 'fishy'; did you mean 'zsh'? Known: bash, tcsh, zsh\n"
    )


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes(capsys: pytest.CaptureFixture[str]) -> None:
    asked = {
        "pretr": "pretrain",
        "pretrain gly": "glyphs",
        "pretrain glyphs --calib": "--calibration",
        "pretrain glyphs --objective byo": "byol",
        "transfer runs/a --protocol knn linear-": "linear-sgd",
        "compare runs/a --tar": "--target",
        "completion z": "zsh",
    }
    assert call("completion", "bash") == 0
    script = (
        capsys.readouterr().out
        + 'try() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _metatc2; echo "${COMPREPLY[*]}"; }\n'
    )
    script += "".join(f"try metatc2 {words}\n" for words in asked)
    done = subprocess.run(["bash"], input=script, capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert done.stderr == ""
    assert done.stdout.splitlines() == list(asked.values())

"""Results chosen on the command line, of runs named without their seeds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from metatc2.experiment.compare import SeedsLeftOut, compare

from ..command_line import call


def compared(tmp_path: Path, folders: list[Path], *words: str) -> list[dict[str, Any]]:
    out = tmp_path / "d.json"
    names = [str(folder).removesuffix("-s0") for folder in (folders[0], folders[3])]
    assert call("compare", *names, *words, "--json", str(out)) == 0
    found: list[dict[str, Any]] = json.loads(out.read_text())
    return found


def test_seeds_that_one_side_has_alone_are_said_to_be_left_out(folders: list[Path], tmp_path: Path) -> None:
    with pytest.warns(
        SeedsLeftOut, match=r"seeds 1, 2 of '.*tc2.*' are left out, since 'simclr.*' has none of that number"
    ):
        (first, *_) = compare([folders[0], folders[1], folders[2], folders[3]])
    assert first.seeds == (0,)


def test_compare_takes_names_without_seeds_and_a_choice_changes_no_verdict(folders: list[Path], tmp_path: Path) -> None:
    everything = compared(tmp_path, folders)
    assert {tuple(d["seeds"]) for d in everything} == {(0, 1, 2)}
    assert {d["target"] for d in everything} == {"digits:meta-test", "digits:meta-validation", "mean over targets"}
    # With one target alone its p would not be corrected.
    corrected = [d for d in everything if d["p_holm"] != d["p"]]
    assert corrected
    for d in corrected:
        assert compared(tmp_path, folders, "--target", d["target"]) == [d]
    assert compared(tmp_path, folders, "--target", "digits", "--protocol", "few-shot", "--head", "cosine") == everything
    assert [d["seeds"] for d in compared(tmp_path, folders, "--seeds", "2")] == 3 * [[2]]


def test_matrix_and_report_take_them_too(
    folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = str(folders[0]).removesuffix("-s0")
    assert call("matrix", name, "--target", "digits:meta-test") == 0
    said = capsys.readouterr().out
    assert "digits:meta-test" in said
    assert "digits:meta-validation" not in said
    assert "over seeds" in said
    for command in ("matrix", "compare", "report"):
        assert call(command, name, "--head", "[bold]") == 2
        assert capsys.readouterr().err == (f"metatc2: error: {command}: --head [bold]: no such result; known: cosine\n")
    assert call("report", name, "--seeds", "7", "--out", str(tmp_path / "r.html")) == 2
    assert f"--seeds 7: there is no {name}-s7; of {name} there are the seeds 0, 1, 2" in capsys.readouterr().err

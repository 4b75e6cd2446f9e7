"""Results chosen on the command line, of runs named without their seeds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ..command_line import call


def compared(tmp_path: Path, folders: list[Path], *words: str) -> list[dict[str, Any]]:
    out = tmp_path / "d.json"
    names = [str(folder).removesuffix("-s0") for folder in (folders[0], folders[3])]
    assert call("compare", *names, *words, "--json", str(out)) == 0
    found: list[dict[str, Any]] = json.loads(out.read_text())
    return found


def test_the_page_says_what_is_left_out(
    folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its figures, of which this is not said, take seconds to draw.
    monkeypatch.setattr("metatc2.report.html.sections.images", lambda methods: [])
    monkeypatch.setattr("metatc2.report.html.page.to_svg", lambda drawn: "")
    assert call("report", *map(str, folders[:4]), "--out", str(tmp_path / "r.html")) == 0
    assert "warning" not in capsys.readouterr().err
    page = (tmp_path / "r.html").read_text()
    assert page.count("Seeds 1, 2 of ") == 1
    assert "are left out: " in page


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

"""What the report opens with where there is one method, one seed, one target, a choice of results, or none."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from metatc2.errors import InputError
from metatc2.report.figures import Point, accuracy, to_svg
from metatc2.report.html.report import write_report
from metatc2.report.html.sections import comparison, summary, transfer_results
from metatc2.report.methods import Method, read_methods
from metatc2.transfer.row_filter import RowFilter


def test_one_run(folders: list[Path]) -> None:
    section = summary(read_methods(folders[3:4]))
    (sentence,) = section.paragraphs
    assert isinstance(sentence, str)
    assert sentence.startswith("simclr reaches ")
    assert "against" not in sentence  # there is nothing that it was compared with
    assert {row[5] for row in section.figures[0].rows} == {"episodes"}


def test_two_runs_of_one_seed_get_no_verdict(folders: list[Path]) -> None:
    (sentence,) = summary(read_methods([folders[0], folders[3]])).paragraphs
    assert "points against simclr (one seed: no verdict)" in sentence


def test_the_sentence_is_on_targets_that_all_runs_have(folders: list[Path]) -> None:
    """And not the mean of one run over a target that the other was not measured on."""
    first, other = read_methods([folders[0], folders[3]])
    (folder,) = other.folders
    rows = [row for row in folder.rows or [] if row.target == "digits:meta-test"]
    fewer = replace(other, folders=[replace(folder, rows=rows)])
    (sentence,) = summary([first, fewer]).paragraphs
    assert "on digits:meta-test (2-way 1-shot, cosine)" in sentence
    assert "points against simclr" in sentence


def test_of_many_targets_the_one_that_all_runs_have_is_shown_first(folders: list[Path]) -> None:
    first, other = read_methods([folders[0], folders[3]])

    def with_targets(method: Method, names: list[str]) -> Method:
        (folder,) = method.folders
        rows = [replace(row, target=name) for name in names for row in (folder.rows or [])[:3]]
        return replace(method, folders=[replace(folder, rows=rows)])

    many = [f"t{i:02}" for i in range(12)]
    section = summary([with_targets(first, many), with_targets(other, many[-1:])])
    assert "on t11 (2-way 1-shot, cosine)" in str(section.paragraphs[0])
    assert section.figures[0].rows[0][0] == "t11"


def test_the_sentence_is_of_what_all_runs_were_measured_by(folders: list[Path]) -> None:
    first, other = read_methods([folders[0], folders[3]])
    near = {"way": 3, "head": "knn", "k": 5, "k_asked": 5}

    def with_rows(method: Method, *, few_shot: bool) -> Method:
        (folder,) = method.folders
        rows = list(folder.rows or [])
        knn = [replace(row, protocol="knn", facts=near) for row in rows]
        return replace(method, folders=[replace(folder, rows=[*rows * few_shot, *knn])])

    (sentence,) = summary([with_rows(first, few_shot=True), with_rows(other, few_shot=False)]).paragraphs
    assert "(k-NN, k=5)" in sentence


def test_nothing_measured(folders: list[Path], tmp_path: Path) -> None:
    copy = shutil.copytree(folders[3], tmp_path / "run")
    for name in ("transfer.json", "transfer.safetensors"):
        (copy / name).unlink()
    section = summary(read_methods([copy]))
    assert section.paragraphs == ["No transfer of simclr has been measured yet."]
    assert not section.figures
    assert section.missing[0].endswith(f"Run: metatc2 transfer {copy}")


def test_a_choice_of_results_holds_in_every_part_and_is_said(folders: list[Path], tmp_path: Path) -> None:
    chosen = RowFilter(targets=("digits:meta-test",))
    methods = read_methods(folders, chosen)
    made = (summary(methods, chosen), transfer_results(methods), comparison(methods, chosen))
    sections = {section.id: section for section in made}
    assert sections["summary"].paragraphs[-1] == "Shown of what was measured: target digits:meta-test."
    assert "on digits:meta-test (2-way 1-shot, cosine)" in str(sections["summary"].paragraphs[0])
    assert {row[0] for row in sections["summary"].figures[0].rows} == {"digits:meta-test"}
    assert {row[1] for row in sections["transfer"].tables[-1].rows} == {"digits:meta-test"}
    assert {row[2] for row in sections["comparison"].figures[0].rows} == {"digits:meta-test"}
    # What is looked at does not decide what is found.
    told = {row[2]: row[-1] for row in comparison(read_methods(folders)).figures[0].rows}
    assert sections["comparison"].figures[0].rows[0][-1] == told["digits:meta-test"]
    with pytest.raises(InputError, match="report: --head cosin: no such result; did you mean 'cosine'"):
        write_report(folders, tmp_path / "r.html", chosen=RowFilter(heads=("cosin",)))


def test_many_targets_are_cut_and_that_is_said(folders: list[Path], tmp_path: Path) -> None:
    copy = shutil.copytree(folders[3], tmp_path / "run")
    rows = json.loads((copy / "transfer.json").read_text())
    own = [row for row in rows if row["target"] == "digits:meta-test"]
    (copy / "transfer.json").write_text(json.dumps([{**row, "target": f"t{i}"} for i in range(10) for row in own]))
    (copy / "transfer.safetensors").unlink()
    section = summary(read_methods([copy]))
    assert len({row[0] for row in section.figures[0].rows}) == 9  # and the mean
    assert section.paragraphs[-1] == "The chart shows the first 8 targets; 2 more are in the transfer table."
    assert "on the mean over 10 targets" in str(section.paragraphs[0])


@pytest.mark.filterwarnings("error")
def test_names_are_drawn_as_they_are_typed() -> None:
    names = ["_x", "$a$", "[bold]b[/bold]", ":smile:"]
    svg = to_svg(accuracy([Point(name, name, False, 0.5, 0.1, "seeds", 3) for name in names], "k-NN"))
    svg = svg.replace("\u200b", "")  # before an underscore in a legend
    for name in names:
        assert svg.count(f">{name}<") == 2, name  # on the axis and in the legend

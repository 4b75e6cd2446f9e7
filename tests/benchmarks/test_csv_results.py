"""Results of studies as CSV: what is written is read back, and what is damaged is refused in a sentence."""

from __future__ import annotations

import csv
import math
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks" / "studies"))

from csv_results import FOLDER, Results

COLUMNS = {
    "arm": str,
    "lr": str,
    "seed": int,
    "diverged": bool,
    "test.mean": float,
    "test.factors.hue": float,
    "test.factors.x": float,
}


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(tmp_path / "study.csv", COLUMNS)


def test_rows_come_back_as_they_were(results: Results) -> None:
    rows: list[dict[str, Any]] = [
        {"arm": "TC², 4 factors", "lr": "0.002", "seed": 0, "test": {"mean": 0.5, "factors": {"hue": -0.0112}}},
        {"arm": 'a "told" arm', "lr": "0.004", "seed": 100, "diverged": True},
        {"arm": "two\nlines", "seed": -1, "diverged": False, "test": {"mean": 1.235e-05}},
    ]
    results.write(rows)
    assert results.read() == rows
    with results.path.open(newline="", encoding="utf-8") as file:
        header, *lines = csv.reader(file)
    assert header == list(COLUMNS)[:-1]  # no row fills the last
    assert [len(line) for line in lines] == [6] * 3


def test_numbers_have_as_many_digits_as_the_study_says(results: Results) -> None:
    row = {"arm": "a", "test": {"mean": 2 / 3, "factors": {"hue": math.nan, "x": None}}, "beside": "left out"}
    results.write([row])
    assert results.read() == [{"arm": "a", "test": {"mean": 0.6667}}]
    exact = Results(results.path, COLUMNS, digits=None)
    exact.write([row])
    assert exact.read() == [{"arm": "a", "test": {"mean": 2 / 3}}]


def test_facts_of_the_machine_stand_beside(results: Results) -> None:
    results.write([{"arm": "a"}], {"python": "3.11", "accelerator": None})
    assert tomllib.loads(results.path.with_suffix(".toml").read_text()) == {"python": "3.11"}
    results.write([{"arm": "a"}])  # the same rows: gathered elsewhere, measured there
    assert tomllib.loads(results.path.with_suffix(".toml").read_text()) == {"python": "3.11"}
    results.write([{"arm": "b"}])
    assert "torch" in tomllib.loads(results.path.with_suffix(".toml").read_text())


@pytest.mark.parametrize(
    "row", [{"seed": 1.0}, {"seed": True}, {"seed": "1"}, {"lr": 0.002}, {"diverged": 1}, {"arm": ""}]
)
def test_values_of_another_type_are_not_written(results: Results, row: dict[str, Any]) -> None:
    results.write([{"arm": "a"}])
    before = results.path.read_bytes()
    with pytest.raises(TypeError, match=next(iter(row))):
        results.write([row])
    assert results.path.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "the header is missing"),
        ("arm,other\na,b\n", "the header has 'other', which is unknown or there twice"),
        ("arm,arm\na,b\n", "the header has 'arm', which is unknown or there twice"),
        ("arm,seed\na,0\nb\n", "line 3: 1 fields where the header has 2"),
        ("arm,seed\n\na,0\n", "line 2: 0 fields where the header has 2"),
        ("arm,seed\na,0.5\n", "line 2: '0.5' in column seed is not a whole number"),
        ("arm,seed\na,1_000\n", "line 2: '1_000' in column seed is not a whole number"),
        ("arm,test.mean\na,nan\n", "line 2: 'nan' in column test.mean is not a number"),
        ("arm,test.mean\na, 0.5\n", "line 2: ' 0.5' in column test.mean is not a number"),
        ("arm,diverged\na,True\n", "line 2: 'True' in column diverged is not true or false"),
        ('arm,seed\n"a,0\n', "line 2: unexpected end of data"),
        ("<<<<<<< ours\narm,seed\n", "the header has '<<<<<<< ours'"),
    ],
)
def test_what_is_damaged_is_one_sentence(
    results: Results, content: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    results.path.write_text(content)
    with pytest.raises(SystemExit) as stopped:
        results.read()
    printed = capsys.readouterr().err
    assert stopped.value.code == 2
    assert f"{results.path}" in printed
    assert said in printed
    assert len(printed.splitlines()) == 1


def test_a_file_that_is_missing_or_no_text_is_one_sentence(
    results: Results, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        results.read()
    results.path.write_bytes(b"arm\n\xff\n")
    with pytest.raises(SystemExit):
        results.read()
    missing, binary = capsys.readouterr().err.splitlines()
    assert "is missing" in missing
    assert "is not UTF-8" in binary


def test_results_of_nothing_leave_the_file_as_it_was(results: Results) -> None:
    results.write([{"arm": "a"}])
    with pytest.raises(SystemExit):
        results.write([])
    assert results.read() == [{"arm": "a"}]


def test_committed_results_are_summaries() -> None:
    files = sorted(FOLDER.glob("*.csv"))
    assert {path.stem for path in files} == {path.stem for path in FOLDER.glob("*.toml")}
    assert files
    for path in files:
        assert path.stat().st_size < 200_000, path
        assert len(path.read_text().splitlines()) < 2_000, path

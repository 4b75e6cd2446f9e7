"""What a report says about folders that lack something, and when it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from metatc2.errors import InputError
from metatc2.report.html.report import write_report
from metatc2.report.html.sections import (
    comparison,
    configuration,
    curves,
    images,
    task_conflict,
    transfer_matrix,
    transfer_results,
)
from metatc2.report.methods import read_folder, read_methods
from metatc2.training.metrics_file import OddRecords


@pytest.fixture
def copy(folders: list[Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(folders[0], tmp_path / "run"))


def test_a_folder_without_results_says_how_to_get_them(copy: Path) -> None:
    (copy / "transfer.json").unlink()
    (copy / "diagnose.json").unlink()
    (copy / "metrics.jsonl").unlink()
    methods = read_methods([copy])
    for section, command in (
        (transfer_results(methods), f"metatc2 transfer {copy}"),
        (comparison(methods), f"metatc2 transfer {copy}"),
        (transfer_matrix(methods), f"metatc2 transfer {copy}"),
        (task_conflict(methods), f"metatc2 diagnose {copy}"),
        (curves(methods), "these are finished."),  # and --resume leaves a finished run as it is
    ):
        assert not section.figures
        assert any(sentence.endswith(command) for sentence in section.missing), section


def test_an_unfinished_run_gives_a_page_that_says_so(copy: Path, tmp_path: Path) -> None:
    (copy / "encoder.safetensors").unlink()
    text = write_report([copy], tmp_path / "page.html").read_text()
    assert text.count(f"the run is not finished; metatc2 pretrain --resume {copy}") == 3  # map, neighbors, failures
    assert 'id="learning-curves"' in text
    assert not (tmp_path / "page_assets").exists()


def test_one_method_is_not_compared(folders: list[Path]) -> None:
    section = comparison(read_methods(folders[:3]))
    assert not section.figures
    assert "two methods" in section.missing[0]


def test_what_compare_refuses_stands_in_its_section(folders: list[Path], copy: Path) -> None:
    # Another method with a seed that the first does not have.
    section = comparison(read_methods([copy, folders[4]]))
    assert not section.figures
    assert "share no seed" in section.missing[0]


def test_methods_are_grouped_and_ordered(folders: list[Path]) -> None:
    methods = read_methods([folders[4], folders[2], folders[0], folders[3], folders[2]])
    assert [(m.name, [f.seed for f in m.folders]) for m in methods] == [
        ("simclr", [0, 1]),
        ("simclr+tc2(shared)", [0, 2]),
    ]


def test_lines_of_a_log_that_are_no_records_are_passed_over(copy: Path) -> None:
    log = copy / "metrics.jsonl"
    whole = log.read_text()
    log.write_text(whole + '{"step": 5, "lo')
    assert [record["step"] for record in read_folder(copy).metrics] == [1, 2, 3, 4]
    odd = [b'{"step": 0, "lo', b"[1]", b"null", b"\xff\xfe", b'{"step": "1", "loss": 2}', b'{"step": 1e400, "loss": 1}']
    log.write_bytes(b"\n".join([*odd, whole.encode()]))
    with pytest.warns(OddRecords, match=r"metrics\.jsonl: no record of a step in line 1, 2, 3, 4, 5, \.\.\."):
        assert [record["step"] for record in read_folder(copy).metrics] == [1, 2, 3, 4]


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"conflict": [{"name": "T"}]}', '{"conflict": {"cosine": 1}}'])
def test_a_damaged_diagnosis_is_one_sentence(copy: Path, content: str) -> None:
    (copy / "diagnose.json").write_text(content)
    with pytest.raises(InputError, match=r"diagnose\.json is no diagnosis .*; run `metatc2 diagnose "):
        read_folder(copy)


def test_a_diagnosis_by_name_is_read_too(copy: Path) -> None:
    def one(value: float | None) -> dict[str, float | None]:
        return {"value": value, "null_mean": 0.0, "null_low": -1.0, "null_high": 1.0, "p": 0.5}

    whole = {"transferability": one(2.0), "conflict_rate": one(0.1), "own_gain": one(0.2)}
    blocks = {
        "cosine": {"all": one(0.3), "stem": one(0.4)},
        "cosine_below_zero": {"all": one(0.5), "stem": one(0.6)},
        "magnitude_similarity": {"all": one(0.7)},
    }
    (copy / "diagnose.json").write_text(json.dumps({"conflict": {**whole, **blocks, "tasks": 4}}))
    found = read_folder(copy).conflict or []
    assert [m.value for m in found] == [2.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7]
    assert [m.outside for m in found] == [True] + [False] * 6
    assert found[4].name.endswith("stem")
    (copy / "diagnose.json").write_text('{"conflict": null}')
    assert read_folder(copy).conflict is None


@pytest.mark.parametrize("key", ["evaluated", "judged"])  # the latter in files of earlier versions
def test_gains_between_kinds_are_read(key: str, copy: Path) -> None:
    measure = {"value": 0.3, "null_mean": 0.0, "null_low": -1.0, "null_high": 1.0}
    whole = dict.fromkeys(("transferability", "conflict_rate", "own_gain"), measure)
    blocks: dict[str, dict[str, float]] = {"cosine": {}, "cosine_below_zero": {}, "magnitude_similarity": {}}
    pairs = [{"step": "hue", key: "place", "gain": {**measure, "value": 0.9}}]
    (copy / "diagnose.json").write_text(json.dumps({"conflict": {**whole, **blocks, "pairs": pairs}}))
    last = (read_folder(copy).conflict or [])[-1]
    assert (last.name, last.value) == ("gain of place by a step on hue", 0.9)


def test_what_metatc2_diagnose_writes_is_read() -> None:
    """The names that are looked for are the fields of the record."""
    from dataclasses import fields

    from metatc2.diagnostics import Conflict
    from metatc2.report.conflict_file import _WORDS

    assert set(_WORDS) <= {field.name for field in fields(Conflict)}


def _file(folder: Path) -> Path:
    (folder / "rows.json").write_text("[]")
    return folder / "rows.json"


def test_results_of_an_encoder_trained_elsewhere_stand_beside_a_run(folders: list[Path], tmp_path: Path) -> None:
    """What `metatc2 transfer NETWORK --out DIR` leaves: rows and a name, no configuration and no weights."""
    other = tmp_path / "other"
    other.mkdir()
    for name in ("transfer.json", "transfer.safetensors"):
        shutil.copy(folders[3] / name, other)
    (other / "encoder.json").write_text(json.dumps({"name": "timm:net@<b>", "sha256": "0", "seed": 0}))
    methods = read_methods([folders[0], other])
    assert [(m.name, [f.seed for f in m.folders]) for m in methods] == [
        ("simclr+tc2(shared)", [0]),
        ("timm:net@<b>", [0]),
    ]
    assert len(comparison(methods).figures) == 1
    assert "timm:net@<b>" in str(comparison(methods).paragraphs)
    told = str([section([methods[1]]) for section in (configuration, curves, task_conflict, images)])
    assert "An encoder that was trained elsewhere; its results are in" in told
    assert f"{other} holds its results and not the encoder." in told
    assert "metatc2 " not in told  # none of the commands works on it
    # Two networks have two untrained ones; raw pixels of images of one size are one control.
    table = transfer_results(methods).tables[0]
    assert [name for name in table.columns if "random" in name] == [
        "random encoder (simclr+tc2(shared))",
        "random encoder (timm:net@<b>)",
    ]
    assert [name for name in table.columns if "pixels" in name] == ["raw pixels"]
    with pytest.raises(InputError, match="same method with the same seed 0"):
        read_methods([other, shutil.copytree(other, tmp_path / "again")])


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda f, p: ([], p / "a.html"), "no run folder is named"),
        (lambda f, p: ([p], p / "a.html"), "is not a run folder .* metatc2 pretrain TASK --run"),
        (lambda f, p: ([f[0], shutil.copytree(f[0], p / "again")], p / "a.html"), "same method with the same seed 0"),
        (lambda f, p: ([f[0] / "transfer.json"], p / "a.html"), r"name the folder: metatc2 report .*none-s0|tc2-s0"),
        (lambda f, p: ([_file(p)], p / "a.html"), r"a report is made of folders.* metatc2 report DIR \(.*--fusion\)"),
        (lambda f, p: ([f[0]], p), r"is a folder; name a file in it"),
    ],
)
def test_refusals(make, sentence: str, folders: list[Path], tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    paths, out = make(folders, tmp_path)
    with pytest.raises(InputError, match=sentence):
        write_report(paths, out)
    assert not list(tmp_path.glob("*.html*"))


def test_a_place_that_cannot_be_written_is_one_sentence_and_leaves_nothing(
    folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metatc2.report.html.report.build_sections", lambda *_: [])  # not what is tested
    (tmp_path / "file").write_text("here")
    with pytest.raises(InputError, match=r"--out .*file/page\.html cannot be written \(.*\); name a file"):
        write_report(folders[:1], tmp_path / "file" / "page.html")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "here"


def test_damage_in_one_folder_leaves_an_earlier_page_as_it_was(folders: list[Path], copy: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    out.write_text("earlier")
    (copy / "transfer.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read as JSON"):
        write_report([folders[3], copy], out, assets=True)
    assert out.read_text() == "earlier"
    assert not (tmp_path / "page_assets").exists()


def test_names_are_text_and_never_markup(copy: Path, tmp_path: Path) -> None:
    """A folder's name goes into the page, its tables and its alt texts."""
    odd = copy.rename(tmp_path / '<b class="x">&$y$')
    (odd / "encoder.safetensors").unlink()
    text = write_report([odd], tmp_path / "page.html").read_text()
    assert "<b class" not in text
    assert "&lt;b class=" in text

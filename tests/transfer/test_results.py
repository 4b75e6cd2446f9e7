"""Result files: the same rows come back, and whatever is wrong with a file is said."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from metatc2.errors import InputError
from metatc2.transfer import Row, read_results, write_results

from ..result_rows import row_of

CONTRACT = {"protocol", "source", "target", "split", "mean", "ci95", "seed", "encoder_sha256", "inductive", "facts"}


def row(**changes: Any) -> Row:
    facts = {
        "protocol": "few-shot",
        "source": "glyphs",
        "target": "glyphs:greek",
        "split": "greek",
        "way": 5,
        "shot": 1,
    }
    facts |= {"query": 15, "episodes": 4, "head": "cosine", "mean": 0.5, "ci95": 0.1, "seed": 0, "encoder_sha256": "ab"}
    return row_of(**(facts | changes))


def written(folder: Path) -> tuple[Path, list[Row], dict[str, torch.Tensor]]:
    rows = [
        row(compute={"seconds": 1.5}, note="für Ω"),
        row(head="euclidean"),
        row(protocol="knn", k=7, k_asked=20, temperature=0.1),
    ]
    accuracies = {rows[0].key: torch.tensor([0.25, 0.75, 0.5, 0.5]).double()}
    path = folder / "transfer.json"
    write_results(path, rows, accuracies)
    return path, rows, accuracies


def test_round_trip(tmp_path: Path) -> None:
    path, rows, accuracies = written(tmp_path)
    found_rows, found = read_results(path)
    assert found_rows == rows
    assert found.keys() == accuracies.keys()
    assert all(torch.equal(found[key], accuracies[key]) for key in found)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["transfer.json", "transfer.safetensors"]


def test_json_holds_the_contract(tmp_path: Path) -> None:
    found = json.loads(written(tmp_path)[0].read_text())
    assert isinstance(found, list)
    assert all(set(item) >= CONTRACT for item in found)
    assert found[0]["inductive"] is True
    assert found[0]["facts"] == {"way": 5, "shot": 1, "query": 15, "episodes": 4, "head": "cosine"}


def test_rows_without_accuracies_can_be_read(tmp_path: Path) -> None:
    path, rows, _ = written(tmp_path)
    path.with_suffix(".safetensors").unlink()
    assert read_results(path) == (rows, {})


def test_writing_again_replaces(tmp_path: Path) -> None:
    path, rows, _ = written(tmp_path)
    write_results(path, rows[1:2], {})
    assert read_results(path) == (rows[1:2], {})


def test_an_encoder_is_never_overwritten(tmp_path: Path) -> None:
    """`--json DIR/encoder.json` would put the accuracies where the weights are."""
    weights = tmp_path / "encoder.safetensors"
    save_file({"w": torch.ones(2)}, weights)
    before = weights.read_bytes()
    with pytest.raises(InputError, match="something else"):
        write_results(tmp_path / "encoder.json", [row()], {})
    assert weights.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["encoder.safetensors"]


def test_same_row_twice(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="two rows have the key"):
        write_results(tmp_path / "transfer.json", [row(), row(mean=0.6)], {})
    assert not list(tmp_path.iterdir())


def test_every_field_of_a_measurement_is_in_the_key() -> None:
    changes = [
        {"way": 6},
        {"shot": 2},
        {"query": 3},
        {"episodes": 5},
        {"head": "knn"},
        {"features": "raw pixels"},
        {"k": 3},
    ]
    changes += [{"split": "thai"}, {"target": "x"}, {"protocol": "knn"}, {"setting": "fog"}]
    changes += [{"norm": 1.0}, {"norm": 2.0}, {"norm": 2.0, "shape": "round"}]
    assert len({row(**change).key for change in [{}, *changes]}) == len(changes) + 1


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "cannot be read as JSON"),
        (b'[{"protocol": "few', "cannot be read as JSON"),
        (b"\xff\xfe\x00", "cannot be read as JSON"),
        (b"{}", "must hold a list"),
        (b"[3]", "row 0: must be an object"),
        (b'[{"protocol": "knn"}]', "row 0: .*target.* missing"),
    ],
)
def test_corrupt_json(tmp_path: Path, content: bytes, match: str) -> None:
    path = tmp_path / "transfer.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=match):
        read_results(path)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"men": 0.5}, "unknown field 'men'; did you mean 'mean'"),
        ({"facts": {"way": "5"}}, "way must be int"),
        ({"facts": {"way": True}}, "way must be int"),
        ({"facts": {"mean": 0.1}}, "facts must not have names of fields, got mean"),
        ({"facts": {"radius": [1]}}, "radius must be str or int or float or bool or dict"),
        ({"facts": {"radius": float("inf")}}, "radius must be finite"),
        ({"facts": [1]}, "facts must be dict"),
        ({"inductive": 1}, "inductive must be bool"),
        ({"mean": 1.5}, "mean must lie in 0..1"),
        ({"mean": float("nan")}, "mean must lie in 0..1"),
        ({"facts": {"k": 1.5}}, "k must be int"),
        ({"facts": {"chosen": {"l2": "1"}}}, "chosen must be a table of numbers"),
        ({"compute": []}, "compute must be dict"),
    ],
)
def test_wrong_fields(tmp_path: Path, change: dict[str, Any], match: str) -> None:
    path = tmp_path / "transfer.json"
    path.write_text(json.dumps([dataclasses.asdict(row()) | change]))
    with pytest.raises(InputError, match=match):
        read_results(path)


def test_whole_numbers_are_fractions_too(tmp_path: Path) -> None:
    path = tmp_path / "transfer.json"
    path.write_text(json.dumps([dataclasses.asdict(row()) | {"mean": 1, "ci95": 0}]))
    assert read_results(path)[0][0].mean == 1


def test_damaged_or_foreign_accuracies(tmp_path: Path) -> None:
    path, rows, accuracies = written(tmp_path)
    beside = path.with_suffix(".safetensors")
    whole = beside.read_bytes()
    beside.write_bytes(whole[:-8])
    with pytest.raises(InputError, match=r"transfer\.safetensors cannot be read"):
        read_results(path)
    write_results(tmp_path / "other.json", rows, {key: value / 2 for key, value in accuracies.items()})
    beside.write_bytes((tmp_path / "other.safetensors").read_bytes())
    with pytest.raises(InputError, match="do not belong together"):
        read_results(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_results(tmp_path / "transfer.json")


#: Two rows as files held them before facts had a place of their own, with every fact of every protocol.
OLDER: list[dict[str, Any]] = [
    {
        **{"protocol": "few-shot", "source": "glyphs", "target": "glyphs:greek", "split": "greek", "way": 5, "shot": 1},
        **{
            "query": 15,
            "episodes": 600,
            "head": "cosine",
            "mean": 0.5,
            "ci95": 0.01,
            "seed": 0,
            "encoder_sha256": "ab",
        },
        **{"inductive": True, "features": "encoder", "classes_excluded": 0, "bank": "", "query_asked": 15, "k": None},
        **{"k_asked": None, "temperature": None, "selection": "none", "target_sha256": "c", "episodes_seed": 7},
        **{"classes_seen": False, "compute": {}, "layer": "output", "metric": "accuracy", "setting": "", "chosen": {}},
        **{"note": "", "context": "", "context_pairs": 0, "context_sha256": ""},
    }
]
OLDER.append(
    OLDER[0]
    | {"protocol": "semi-supervised", "shot": 0, "query": 40, "episodes": 0, "head": "linear", "query_asked": None}
    | {"selection": "accuracy on validation", "episodes_seed": 0, "setting": "1 % of the labels", "chosen": {"l2": 0.1}}
)


def test_older_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "transfer.json"
    path.write_text(json.dumps(OLDER))
    (few, semi), _ = read_results(path)
    assert few.facts == {
        **{"way": 5, "shot": 1, "query": 15, "episodes": 600, "head": "cosine", "classes_excluded": 0},
        **{"query_asked": 15, "episodes_seed": 7},
    }
    assert semi.facts == {
        **{"way": 5, "query": 40, "head": "linear", "classes_excluded": 0, "selection": "accuracy on validation"},
        **{"setting": "1 % of the labels", "chosen": {"l2": 0.1}},
    }
    assert (semi.shot, semi.episodes, semi.k, semi.value("temperature")) == (None, None, None, None)
    # The keys that name accuracies in the file beside, and seeds that pair runs, are the ones that those files have.
    assert few.key == "few-shot|glyphs:greek|greek|5-way|1-shot|15-query|600-episodes|cosine|encoder"
    assert semi.key == (
        "semi-supervised|glyphs:greek|greek|5-way|0-shot|40-query|0-episodes|linear|encoder|1 % of the labels"
    )
    write_results(path, [few, semi], {})
    assert read_results(path)[0] == [few, semi]
    assert "facts" in json.loads(path.read_text())[0]


@pytest.mark.parametrize(
    ("change", "match"),
    [({"way": "5"}, "way must be int"), ({"shot": False}, "shot must be int"), ({"k": 1.5}, "k must be int")],
)
def test_wrong_fields_of_older_files(tmp_path: Path, change: dict[str, Any], match: str) -> None:
    path = tmp_path / "transfer.json"
    path.write_text(json.dumps([OLDER[0] | change]))
    with pytest.raises(InputError, match=match):
        read_results(path)


def test_facts_that_this_library_does_not_know_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "transfer.json"
    made = row(protocol="elsewhere", radius=0.5, shells=3, shape="round", parts={"a": 1.0})
    write_results(path, [made], {})
    assert read_results(path)[0] == [made]

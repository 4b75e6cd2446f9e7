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

CONTRACT = {"protocol", "source", "target", "split", "way", "shot", "query", "episodes", "head", "mean", "ci95", "seed"}
CONTRACT |= {"encoder_sha256", "inductive"}


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
    return Row(**(facts | changes))


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
    changes += [{"split": "thai"}, {"target": "x"}, {"protocol": "knn"}]
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
        ({"way": "5"}, "way must be int"),
        ({"way": True}, "way must be int"),
        ({"inductive": 1}, "inductive must be bool"),
        ({"mean": 1.5}, "mean must lie in 0..1"),
        ({"mean": float("nan")}, "mean must lie in 0..1"),
        ({"k": 1.5}, "k must be int or NoneType"),
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

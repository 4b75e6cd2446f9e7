"""Inputs that `benchmarks/fuzz.py` found, or that stand for what it looks for: each is read or refused, and no more happens.

A new crash goes here with the input that showed it.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from metatc2.data import load
from metatc2.errors import InputError
from metatc2.experiment.monitor import read_monitor
from metatc2.io.source_names import place
from metatc2.io.writing import csv_text
from metatc2.models.foreign_weights import read_torch_file
from metatc2.report.fusion_file import read_fusion
from metatc2.report.html.sections import fusion


class RunsCode:
    """To read it by pickle would make a file."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, int]]:
        return os.open, (str(self.made), os.O_CREAT | os.O_WRONLY)


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    """A file that is there once code of an input ran; the way to make it works."""
    file = tmp_path / "ran"
    os.close(pickle.loads(pickle.dumps(RunsCode(file))))
    file.unlink()
    return file


# Found: tracebacks of Python's own where a direct call was made; the command line had a sentence for both.
@pytest.mark.parametrize("source", ["folder:a\0b", "npz:\0", "mit67:~no-such-user/x", "clips:~\x00", "domains:~'"])
def test_paths_that_are_none(source: str) -> None:
    with pytest.raises(InputError, match=r"NUL character|no user of this machine|no such|lacks|holds"):
        load(source)


def test_the_place_of_a_path_that_is_none() -> None:
    with pytest.raises(InputError, match="NUL character"):
        place("folder:a\0b")


def fusion_file(folder: Path, **changes: object) -> Path:
    row = {
        "target": "digits:all",
        "method": "static",
        "kind": "attention",
        "setting": "as given",
        "labels_per_class": 5,
        "mean": 0.5,
        "ci95": 0.1,
        "accuracies": [0.5, 0.5],
        "encoders": ["a"],
    }
    file = folder / "fusion.json"
    file.write_text(json.dumps({"rows": [row], "differences": [], "notes": ["a note"], **changes}))
    return file


def test_a_fusion_without_words_in_a_note(tmp_path: Path) -> None:
    """Found: IndexError in the report, which writes the first letter large."""
    assert fusion(read_fusion(fusion_file(tmp_path)))[0].paragraphs[1] == "A note."
    with pytest.raises(InputError, match="is no result of fusion .an empty note"):
        read_fusion(fusion_file(tmp_path, notes=[""]))


@pytest.mark.parametrize("new", [True, False])
def test_a_hostile_pickle_is_refused_and_not_run(new: bool, tmp_path: Path, ran: Path) -> None:
    for content in ({"state_dict": RunsCode(ran)}, RunsCode(ran)):
        torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=new)
        with pytest.raises(
            InputError, match="holds Python objects, which only running code from the file could restore"
        ):
            read_torch_file(tmp_path / "a.pth")
    assert not ran.exists()


def test_objects_in_an_array_are_refused_and_not_run(tmp_path: Path, ran: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.array([RunsCode(ran)], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="without Python objects"):
        load(f"npz:{tmp_path / 'a.npz'}")
    assert not ran.exists()


@pytest.mark.parametrize("name", ["../images.npy", "/images.npy", "a/../../images.npy"])
def test_members_of_an_archive_stay_in_it(name: str, tmp_path: Path) -> None:
    images = io.BytesIO()
    np.save(images, np.zeros((4, 8, 8), dtype=np.uint8))
    (tmp_path / "in").mkdir()
    with zipfile.ZipFile(tmp_path / "in" / "a.npz", "w") as archive:
        archive.writestr(name, images.getvalue())
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match="no array 'images'"):
        load(f"npz:{tmp_path / 'in' / 'a.npz'}")
    assert sorted(tmp_path.rglob("*")) == before


# Found: the name of a field that is none, with a line break in it, broke the sentence in two.
def test_a_measurement_with_an_odd_field_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "monitor.jsonl").write_text('{"step": 1, "im\\n": 2}\n')
    with pytest.raises(InputError, match="is no measurement") as refused:
        read_monitor(tmp_path)
    assert "\n" not in str(refused.value)


# Found: a number for Python, and with its end written out a formula for a spreadsheet.
@pytest.mark.parametrize("name", ["+1\r", "-1\n", "\t1"])
def test_a_number_with_a_control_character_is_text(name: str) -> None:
    cell = csv_text(["a"], [[name]]).splitlines()[1]
    assert cell.startswith("'")


@pytest.mark.parametrize("number", ["+1", "-1.5", "1e3"])
def test_a_number_stays_one(number: str) -> None:
    assert csv_text(["a"], [[number]]).splitlines()[1] == number

"""Links that a folder from elsewhere brings along: what they lead to is never written, and a link of the user's is followed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metatc2.errors import InputError
from metatc2.experiment.run import load_run, resume
from metatc2.experiment.transfer import features_folder
from metatc2.io.files import write_atomically, write_folder_atomically, write_synced
from metatc2.io.folder_lock import FolderLock, only_one
from metatc2.io.run_files import FEATURES
from metatc2.training.metrics_file import append_metrics
from metatc2.training.run_folder import RunFolder

PRECIOUS = "of the user's"


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    file = tmp_path / "victim"
    file.write_text(PRECIOUS)
    return file


def _whole_folder(path: Path) -> None:
    write_folder_atomically(path, lambda aside: write_synced(aside / "a", b"new"))


def _write_inside(path: Path) -> None:
    write_synced(path, b"new")


@pytest.mark.parametrize("write", [lambda path: write_atomically(path, b"new"), _whole_folder, _write_inside])
@pytest.mark.parametrize("leads", ["to it", "nowhere", "to itself"])
def test_what_is_replaced_takes_the_place_of_a_link(
    write: Callable[[Path], None], leads: str, victim: Path, tmp_path: Path
) -> None:
    link = tmp_path / "link"
    link.symlink_to({"to it": victim, "nowhere": tmp_path / "none", "to itself": link}[leads])
    write(link)
    assert not link.is_symlink()
    assert (link / "a" if link.is_dir() else link).read_bytes() == b"new"
    assert victim.read_text() == PRECIOUS
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "victim"]


def test_a_folder_takes_the_place_of_a_link_to_a_folder(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "kept").touch()
    (tmp_path / "link").symlink_to("theirs")
    _whole_folder(tmp_path / "link")
    assert os.listdir(tmp_path / "theirs") == ["kept"]
    assert os.listdir(tmp_path / "link") == ["a"]


@pytest.mark.parametrize("planted", ["a link", "a pipe", "a file"])
def test_the_name_of_a_half_written_file_can_be_foreseen(planted: str, victim: Path, tmp_path: Path) -> None:
    aside = tmp_path / f".out.json.{os.getpid()}.tmp"
    if planted == "a link":
        aside.symlink_to(victim)
    elif planted == "a pipe":
        os.mkfifo(aside)  # to open it would wait for ever
    else:
        os.link(victim, aside)
    write_atomically(tmp_path / "out.json", b"new")
    assert not (tmp_path / "out.json").is_symlink()
    assert (tmp_path / "out.json").read_bytes() == b"new"
    assert victim.read_text() == PRECIOUS


@pytest.mark.parametrize(
    "write",
    [lambda file: FolderLock(file).take(), lambda file: append_metrics(file, {"step": 1, "loss": 1.0})],
    ids=["lock", "records"],
)
def test_what_is_written_where_it_lies_is_no_link(write: Callable[[Path], Any], victim: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("victim")
    with pytest.raises(InputError, match="is a link .*victim.*; put what it leads to in its place, or delete it"):
        write(tmp_path / "link")
    assert victim.read_text() == PRECIOUS


def test_the_lock_of_results_is_no_link(victim: Path, tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / ".results.lock").symlink_to(victim)
    with pytest.raises(InputError, match="is a link"), only_one(tmp_path / "results"):
        pass
    assert victim.read_text() == PRECIOUS


@pytest.mark.parametrize(
    "name", [".lock", "metrics.jsonl", "monitor.jsonl", "checkpoint", "failure", "features", "logs"]
)
def test_a_run_writes_nothing_outside_of_its_folder(name: str, run: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    if (run / name).exists():
        (run / name).rename(elsewhere)
    else:
        elsewhere.write_text(PRECIOUS)
    held = sorted((path, path.is_dir() or path.read_bytes()) for path in (elsewhere, *elsewhere.rglob("*")))
    (run / name).symlink_to(elsewhere)
    before = sorted(run.rglob("*"))
    with pytest.raises(InputError, match=f"{name} is a link .*writes nothing outside of its own folder"):
        resume(run, steps=4)
    assert sorted(run.rglob("*")) == before
    assert RunFolder(run)._lock.holder() is None
    assert sorted((path, path.is_dir() or path.read_bytes()) for path in (elsewhere, *elsewhere.rglob("*"))) == held


def test_features_are_not_kept_outside_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / FEATURES).symlink_to("theirs")
    with pytest.warns(UserWarning, match="is a link .*; features are computed and not kept"):
        assert features_folder(tmp_path / FEATURES) is None


def test_a_folder_that_the_user_names_may_be_a_link(run: Path, tmp_path: Path) -> None:
    (tmp_path / "named").symlink_to(run)
    with RunFolder(tmp_path / "named").owned():
        assert (run / ".lock").exists()
    assert load_run(tmp_path / "named").steps == load_run(run).steps

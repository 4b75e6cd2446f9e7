"""A pipe in the place of a file never waits, and a full disk is one sentence that leaves nothing behind."""

from __future__ import annotations

import errno
import io
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from metatc2.data import load
from metatc2.data.decoding import read_image
from metatc2.errors import InputError
from metatc2.experiment import run as runs
from metatc2.experiment.config import read_task
from metatc2.experiment.diagnose import run as diagnose
from metatc2.experiment.hub import save_pretrained
from metatc2.experiment.load import load_pretrained
from metatc2.experiment.transfer import transfer
from metatc2.io.files import fill_folder, read_file, write_atomically, write_folder_atomically, writing
from metatc2.io.folder_lock import FolderLock
from metatc2.io.reading import read_json
from metatc2.report.html.report import write_report
from metatc2.training.run_folder import RunFolder
from metatc2.transfer.estimates import Estimate

from ..command_line import call

ESTIMATE = Estimate("a", "b", {"LogME": 1.0}, None)

pytestmark = pytest.mark.filterwarnings("ignore::metatc2.training.HealthWarning")


@pytest.fixture(autouse=True)
def _never_waits() -> Iterator[None]:
    """What opens a pipe would wait for ever; the suite must not."""

    def waited(number: int, frame: FrameType | None) -> None:
        raise AssertionError("a pipe was opened")

    before = signal.signal(signal.SIGALRM, waited)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def refused(act: Any, *arguments: Any, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        act(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def pipe(path: Path) -> Path:
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    return path


def test_every_reader_of_a_named_file_refuses_a_pipe(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("")
    for name, read in {
        "task.toml": lambda p: read_task(str(p)),
        "a.json": read_json,
        "a.npz": lambda p: load(f"npz:{p}"),
        "a.png": lambda p: read_image(p, 8),
        "a.safetensors": lambda p: load_pretrained(str(p)),
        "a.pth": lambda p: load_pretrained(str(p)),
        "any": read_file,
    }.items():
        assert "is a device or pipe; name a file" in refused(read, pipe(tmp_path / name)), name


@pytest.mark.parametrize(
    ("name", "acts"),
    [
        ("config.toml", (runs.load_run, runs.resume)),
        ("encoder.safetensors", (runs.load_run,)),
        ("calibrator.safetensors", (runs.load_run,)),
        (
            "transfer.json",
            (lambda p: transfer(runs.load_run(p)), lambda p: write_report([p], p.parent / "a.html")),
        ),
        ("transfer.safetensors", (lambda p: transfer(runs.load_run(p)),)),
        ("metrics.jsonl", (lambda p: runs.resume(p, steps=4), lambda p: write_report([p], p.parent / "a.html"))),
        ("diagnose.json", (lambda p: write_report([p], p.parent / "a.html"),)),
        (".lock", (lambda p: runs.resume(p, steps=4), runs.load_run)),
        ("checkpoint/step-00000003/state.json", (lambda p: runs.resume(p, steps=4), diagnose)),
        ("checkpoint/step-00000003/state.safetensors", (lambda p: runs.resume(p, steps=4),)),
    ],
)
def test_a_pipe_in_a_run_folder(name: str, acts: tuple[Any, ...], run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metatc2.experiment.transfer.evaluate", lambda *words, **options: pytest.fail("measured"))
    monkeypatch.setattr("metatc2.report.html.report.render", lambda *words, **options: pytest.fail("made a page"))
    pipe(run / name)
    for act in acts:
        assert "is a device or pipe" in refused(act, run), name
    if name != ".lock":
        assert RunFolder(run)._lock.holder() is None


class Full:
    """A disk that takes so many more writes."""

    def __init__(self, patch: pytest.MonkeyPatch, left: int) -> None:
        self.left, self.sync = left, os.fsync
        patch.setattr(os, "fsync", self)

    def __call__(self, opened: int) -> None:
        if os.path.isfile(f"/proc/self/fd/{opened}"):
            self.left -= 1
            if self.left < 0:
                raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("left", [0, 1, 3])
@pytest.mark.parametrize("place", ["new/e", "empty"])
def test_an_export_to_a_full_disk_leaves_nothing(
    left: int, place: str, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    Full(monkeypatch, left)
    assert "(No space left on device); free some space" in refused(save_pretrained, finished, tmp_path / place)
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "empty"]


def test_what_is_written_elsewhere_says_that_the_disk_is_full(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("metatc2.report.html.report.build_sections", lambda *_: [])
    monkeypatch.setattr("metatc2.experiment.estimate.run", lambda *words, **options: ([ESTIMATE], {}))
    Full(monkeypatch, 0)
    assert "free some space" in refused(write_report, [finished], tmp_path / "new" / "a.html")
    assert call("estimate", str(finished), "--json", str(tmp_path / "new" / "a.json")) == 2
    assert "free some space" in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []


def test_folders_that_were_made_for_nothing_go_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Full(monkeypatch, 0)

    def fill(aside: Path) -> None:
        write_atomically(aside / "a", b"a")

    for act in (
        lambda: write_atomically(tmp_path / "a" / "b" / "c", b"x"),
        lambda: write_folder_atomically(tmp_path / "a" / "b", fill),
        lambda: fill_folder(tmp_path / "a" / "b", {"c": b"x"}),
    ):
        with pytest.raises(OSError, match="No space left"):
            act()
        assert list(tmp_path.iterdir()) == []


def test_a_lock_that_cannot_be_written_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class NoRoom(io.TextIOWrapper):
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    opened: list[NoRoom] = []

    def no_room(path: Path, *words: Any, **options: Any) -> NoRoom:
        opened.append(NoRoom(io.BufferedRandom(io.FileIO(path, "a+"))))
        return opened[-1]

    lock = FolderLock(tmp_path / ".lock")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", no_room)
        with pytest.raises(OSError, match="No space left"):
            lock.take()
    assert not lock.held
    assert opened[0].closed
    assert list(tmp_path.iterdir()) == []
    assert lock.take() is None
    lock.give_back()


def test_an_error_without_words_of_the_system_is_never_none() -> None:
    for error, words in ((OSError("not seekable"), "(not seekable)"), (OSError(), "(OSError)")):
        with pytest.raises(InputError) as caught, writing(Path("a")):
            raise error
        assert words in str(caught.value)

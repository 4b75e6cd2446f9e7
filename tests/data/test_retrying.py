"""Storage that fails for a moment, for good, or never answers: asked again, named, and not waited for."""

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from metatc2.data import load, retrying
from metatc2.data.decoding import Decoded
from metatc2.data.gather import gather
from metatc2.data.reading_threads import ReadingThreads
from metatc2.data.retrying import StorageFailed, is_passing, retried
from metatc2.data.streaming import StreamedImages
from metatc2.errors import InputError

from ..command_line import PATIENCE


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    """Seconds that were waited, without waiting."""
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    monkeypatch.setenv("METATC2_CACHE", str(tmp_path_factory.mktemp("cache")))
    return waited


def failing(times: int, error: Exception) -> Callable[[], str]:
    left = [error] * times

    def action() -> str:
        if left:
            raise left.pop()
        return "read"

    return action


@pytest.mark.parametrize("error", [OSError(errno.EIO, "I/O error"), TimeoutError("slow"), ConnectionResetError("gone")])
def test_what_fails_for_a_moment_is_read(error: Exception, pauses: list[float]) -> None:
    assert retried(failing(2, error)) == "read"
    assert pauses == [0.2, 0.8]


def test_what_fails_for_good_says_how_often_it_was_tried(pauses: list[float]) -> None:
    with pytest.raises(StorageFailed, match="I/O error, tried 3 times") as caught:
        retried(failing(3, OSError(errno.EIO, "I/O error")))
    assert caught.value.errno == errno.EIO
    assert len(pauses) == 2
    with pytest.raises(StorageFailed):
        retried(failing(1, caught.value))
    assert len(pauses) == 2  # one that was tried already is not tried again


@pytest.mark.parametrize(
    "error", [FileNotFoundError(errno.ENOENT, "none"), OSError("image file is truncated"), ValueError()]
)
def test_what_will_not_pass_is_not_tried_again(error: Exception, pauses: list[float]) -> None:
    assert not is_passing(error)
    with pytest.raises(type(error)):
        retried(failing(1, error))
    assert pauses == []


def test_tries_have_a_limit_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 59.9, 100.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(now))
    with pytest.raises(StorageFailed, match="I/O error, tried once"):
        retried(failing(3, OSError(errno.EIO, "I/O error")))


class Flaky:
    """Images of a store that fails on some rows, as often as is said; and one that is damaged."""

    size = 4

    def __init__(self, failures: dict[int, int]) -> None:
        self.failures = failures

    def __len__(self) -> int:
        return 12

    def look(self, row: int) -> tuple[Decoded, int]:
        if self.failures.get(row, 0):
            self.failures[row] -= 1
            raise OSError(errno.EIO, "Input/output error")
        if row == 5:
            raise OSError("image file is truncated")
        return Decoded(torch.full((1, 4, 4), row, dtype=torch.uint8), None, 0), row

    def read(self, row: int) -> tuple[torch.Tensor, int]:
        decoded, label = self.look(row)
        return decoded.pixels, label

    def identity(self) -> str:
        return ""

    def where(self, row: int) -> str:
        return f"shelf/{row}.png"


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stream", [False, True])
def test_an_image_is_not_left_out_for_what_the_storage_did(stream: bool, workers: int) -> None:
    found = gather(Flaky({2: 2, 7: 1}), "toy", stream=stream, workers=workers, skip=True)
    assert found.rows.tolist() == [row for row in range(12) if row != 5]
    assert found.reasons == {5: "image file is truncated"}
    with pytest.raises(
        InputError, match=r"toy: shelf/7\.png cannot be read \(Input/output error, tried 3 times\); see to"
    ):
        gather(Flaky({7: 99}), "toy", stream=stream, workers=workers, skip=True)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_is_read_again_and_then_named(workers: int) -> None:
    reader = Flaky({})
    images = gather(reader, "toy", stream=True, workers=workers, skip=True).images
    reader.failures = {1: 1, 3: 2}
    assert images[torch.arange(4)][:, 0, 0, 0].tolist() == [0, 1, 2, 3]
    reader.failures = {3: 99}
    with pytest.raises(
        InputError, match=r"toy: shelf/3\.png cannot be read now \(Input/output error, tried 3 times\); see to"
    ):
        images[torch.arange(4)]


def test_a_folder_is_listed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        Image.new("L", (8, 8), 7).save(tmp_path / name / "1.png")
    usual, left = os.scandir, [2]

    def stale(path: str) -> object:
        if path.endswith("b") and left[0]:
            left[0] -= 1
            raise OSError(errno.ESTALE, "Stale file handle")
        return usual(path)

    monkeypatch.setattr(os, "scandir", stale)
    assert len(load(f"folder:{tmp_path}")) == 2
    left[0] = 99
    with pytest.raises(InputError, match=r"folder \S+/b cannot be listed \(Stale file handle, tried 3 times\)"):
        load(f"folder:{tmp_path}")


class Gone:
    """A store that never answers, until it is let go."""

    size = 4

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.answers.set()

    def __len__(self) -> int:
        return 8

    def read(self, row: int) -> tuple[torch.Tensor, int]:
        self.answers.wait(PATIENCE)
        return torch.zeros(1, 4, 4, dtype=torch.uint8), row

    def identity(self) -> str:
        return ""


@pytest.fixture
def gone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gone]:
    monkeypatch.setattr(retrying, "STALLED", 0.05)
    reader = Gone()
    yield reader
    reader.answers.set()


@pytest.mark.parametrize("ahead", [False, True])
def test_a_store_that_never_answers_is_not_waited_for(gone: Gone, ahead: bool) -> None:
    images = gather(gone, "toy", stream=True, workers=2).images
    assert isinstance(images, StreamedImages)
    gone.answers.clear()
    if ahead:
        images.prefetch(torch.arange(4))
    with pytest.raises(InputError, match=r"toy: reading a batch of images: nothing came for 0\.05 seconds; see to"):
        images[torch.arange(4)]


def test_nor_is_it_when_a_source_is_opened(gone: Gone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metatc2.data.reading_threads._PATIENCE", 0.05)
    gone.answers.clear()
    with pytest.raises(InputError, match=r"toy: image 0 cannot be read \(nothing came for 0\.05 seconds\)"):
        gather(gone, "toy", workers=2)


def test_threads_do_their_work_in_order_and_end() -> None:
    with ReadingThreads(2) as threads:
        assert list(threads.map(lambda x: x * x, range(20))) == [x * x for x in range(20)]
        with pytest.raises(ZeroDivisionError):
            threads.submit(lambda: 1 // 0).result(PATIENCE)
        own = {threads.submit(threading.current_thread).result(PATIENCE) for _ in range(20)}
    assert 1 <= len(own) <= 2
    assert not any(thread.is_alive() for thread in own)


def test_what_no_thread_has_begun_is_canceled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metatc2.data.reading_threads._PATIENCE", 0.05)
    threads, go, begun = ReadingThreads(1), threading.Event(), threading.Event()

    def held() -> bool:
        begun.set()
        return go.wait(PATIENCE)

    first, second = threads.submit(held), threads.submit(int)
    assert begun.wait(PATIENCE)
    threads.shutdown()
    assert second.cancelled()
    go.set()
    assert first.result(PATIENCE)

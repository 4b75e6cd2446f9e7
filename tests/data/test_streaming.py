"""Streamed stores are the stores in memory: same pixels, same splits, same checksum, and little memory."""

import multiprocessing
import pickle
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from metatc2.data import ImageStore, StreamedImages, UnreadableImages, in_chunks, load
from metatc2.data.gather import gather
from metatc2.data.image_io import join, resize_square, to_channels
from metatc2.data.readers import ImageFiles
from metatc2.errors import InputError

from ..command_line import PATIENCE
from ..covering import covered


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("METATC2_CACHE", str(folder))
    return folder


def photos(root: Path, classes: int = 4, each: int = 6, color: bool = True, seed: int = 0) -> Path:
    """Gray and color images of several sizes and formats."""
    random = np.random.default_rng(seed)
    for c in range(classes):
        (root / f"class{c}").mkdir(parents=True)
        for i in range(each):
            shape = (int(random.integers(9, 30)), int(random.integers(9, 30)), *([3] * (color and i % 2)))
            image = Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8))
            image.save(root / f"class{c}" / f"{i}.{'jpg' if i % 3 else 'png'}")
    return root


def both(source: str, workers: int, **options: object) -> tuple[object, object]:
    return load(source, **options), load(source, stream=True, workers=workers, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("workers", "channels", "color"), covered((0, 3), (None, 1, 3), (True, False)))
def test_the_store_is_the_one_in_memory(tmp_path: Path, workers: int, channels: int | None, color: bool) -> None:
    source = f"folder:{photos(tmp_path, color=color)}"
    held, streamed = both(source, workers, image_size=12, channels=channels)
    assert isinstance(streamed.images, StreamedImages)
    assert streamed.images.shape == held.images.shape
    assert (len(streamed), streamed.channels, streamed.image_size) == (len(held), held.channels, held.image_size)
    assert streamed.images[:].equal(held.images)
    assert streamed.labels.equal(held.labels)
    assert streamed.class_names == held.class_names
    assert streamed.notes == held.notes
    assert {name: rows.tolist() for name, rows in streamed.splits.items()} == {
        name: rows.tolist() for name, rows in held.splits.items()
    }
    assert streamed.checksum() == held.checksum() == streamed.checksum()


INDEX = [
    torch.tensor([5, 0, 5, 23]),
    torch.tensor([[1, 2], [3, -1]]),
    torch.zeros(0, dtype=torch.int64),
    torch.arange(24) % 5 == 0,
    slice(3, 20, 4),
    slice(None, -20),
    7,
    -2,
    [4, 1],
]


@pytest.mark.parametrize(("index", "workers"), covered(INDEX, (0, 2), strength=1))
def test_rows_are_indexed_as_a_tensor_is(tmp_path: Path, workers: int, index: object) -> None:
    held, streamed = both(f"folder:{photos(tmp_path)}", workers)
    assert streamed.images[index].equal(held.images[index])


def test_a_row_that_is_not_there(tmp_path: Path) -> None:
    _, streamed = both(f"folder:{photos(tmp_path)}", 0)
    with pytest.raises(IndexError):
        streamed.images[torch.tensor([24])]


def test_steps_after_reading_are_those_on_a_tensor(tmp_path: Path) -> None:
    """Whatever `load` does to images in memory it does, in the same order, to those that are read later."""
    reader = ImageFiles([str(f) for f in sorted(photos(tmp_path).rglob("*.*"))], list(range(24)), 20)
    held, streamed = gather(reader, "toy").images, gather(reader, "toy", stream=True).images
    assert isinstance(streamed, StreamedImages)
    for size, channels in ((11, 1), (32, 3)):
        assert streamed.resized(size).with_channels(channels)[:].equal(to_channels(resize_square(held, size), channels))
        assert streamed.resized(size).with_channels(channels).shape == (24, channels, size, size)
    order = torch.tensor([3, 3, 20])
    assert streamed.select(order).select(torch.tensor([2, 0]))[:].equal(held[[20, 3]])
    parts = [streamed.select(torch.tensor([1])), streamed.select(torch.arange(2))]
    assert StreamedImages.joined(parts)[:].equal(join([held[1:2], held[:2]]))


def test_what_cannot_be_read_is_left_out_alike(tmp_path: Path) -> None:
    root = photos(tmp_path)
    cut = root / "class1" / "1.jpg"
    cut.write_bytes(cut.read_bytes()[:200])  # its header is whole
    (root / "class2" / "note.txt").write_text("no image")
    for file in (root / "class3").iterdir():
        file.write_bytes(b"")
    with pytest.warns(UnreadableImages, match=r"7 of 24.*class1/1\.jpg"):
        held = load(f"folder:{root}")
    for _ in range(2):  # found, then remembered
        with pytest.warns(UnreadableImages, match=r"7 of 24.*class1/1\.jpg"):
            streamed = load(f"folder:{root}", stream=True)
        assert streamed.class_names == ("class0", "class1", "class2")
        assert dict(streamed.notes) == dict(held.notes)
        assert streamed.images[:].equal(held.images)
        assert streamed.checksum() == held.checksum()


def counting(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows that image files are read for."""
    asked: list[int] = []
    original = ImageFiles.read

    def read(self: ImageFiles, row: int) -> tuple[torch.Tensor, int]:
        asked.append(row)
        return original(self, row)

    monkeypatch.setattr(ImageFiles, "read", read)
    return asked


def test_only_what_is_asked_for_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = f"folder:{photos(tmp_path)}"
    first = load(source, stream=True).checksum()
    asked = counting(monkeypatch)
    again = load(source, stream=True)
    assert again.checksum() == first
    assert asked == []  # files that are as they were are not looked at again
    again.images[torch.tensor([4, 9])]
    assert asked == [4, 9]


def test_a_remembered_checksum_is_not_that_of_another_store(tmp_path: Path) -> None:
    """Of the same files: other labels, splits, order, size, colors."""
    source = f"folder:{photos(tmp_path)}"
    held, streamed = both(source, 0, image_size=9)
    changes: list[dict[str, object]] = [
        {"labels": held.labels.flip(0), "splits": {}},
        {"splits": {"mine": torch.tensor([1])}},
        {"splits": {"mine": torch.tensor([2])}},
        {"groups": {"both": ("meta-train", "meta-test")}},
    ]
    sums = {streamed.checksum()}
    for change in changes:
        assert replace(streamed, **change).checksum() == replace(held, **change).checksum()
        sums.add(replace(streamed, **change).checksum())
    order = torch.arange(24).flip(0)
    images: list[tuple[StreamedImages, torch.Tensor]] = [
        (streamed.images.select(order), held.images[order]),
        (streamed.images.resized(12).resized(9), resize_square(resize_square(held.images, 12), 9)),
        (streamed.images.with_channels(1).with_channels(3), to_channels(to_channels(held.images, 1), 3)),
    ]
    for mine, theirs in images:
        assert replace(streamed, images=mine).checksum() == replace(held, images=theirs).checksum()
        sums.add(replace(streamed, images=mine).checksum())
    assert len(sums) == 8


def test_a_changed_file_is_looked_at_again(tmp_path: Path) -> None:
    source = f"folder:{photos(tmp_path)}"
    before = load(source, stream=True).checksum()
    Image.new("RGB", (9, 9), (1, 2, 3)).save(tmp_path / "class0" / "0.png")
    after = load(source, stream=True)
    assert after.checksum() == load(source).checksum() != before


def test_a_damaged_or_forbidden_cache_is_done_without(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = f"folder:{photos(tmp_path)}"
    expected = load(source, stream=True).checksum()
    kept = list(cache.iterdir())
    assert len(kept) == 2
    for file in kept:
        raw = bytearray(file.read_bytes())
        raw[len(raw) // 2] ^= 1
        file.write_bytes(raw)
    assert load(source, stream=True).checksum() == expected
    (cache / "file").write_text("not a folder")
    monkeypatch.setenv("METATC2_CACHE", str(cache / "file"))
    assert load(source, stream=True).checksum() == expected


def test_prefetch_reads_once_and_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held, streamed = both(f"folder:{photos(tmp_path)}", 2)
    asked = counting(monkeypatch)
    rows = torch.tensor([3, 1, 20])
    streamed.images.prefetch(rows)
    given_up = time.monotonic() + PATIENCE
    while len(asked) < 3 and time.monotonic() < given_up:
        time.sleep(0.01)
    assert sorted(asked) == [1, 3, 20]
    assert streamed.images[torch.tensor([0])].equal(held.images[:1])  # others may be asked for in between
    assert streamed.images[rows].equal(held.images[rows])
    assert sorted(asked) == [0, 1, 3, 20]
    assert streamed.images[rows].equal(held.images[rows])  # given away once; now they are read again
    assert len(asked) == 7
    streamed.images.prefetch(torch.tensor([5]))
    streamed.images.prefetch(torch.tensor([6]))
    assert streamed.images[[5]].equal(held.images[[5]])
    assert streamed.images[[6]].equal(held.images[[6]])


def test_without_workers_nothing_is_read_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, streamed = both(f"folder:{photos(tmp_path)}", 0)
    asked = counting(monkeypatch)
    streamed.images.prefetch(torch.arange(5))
    assert asked == []


def test_pickled_with_threads_running(tmp_path: Path) -> None:
    held, streamed = both(f"folder:{photos(tmp_path)}", 2)
    streamed.images.prefetch(torch.arange(4))
    again = pickle.loads(pickle.dumps(streamed.images))
    assert again[:4].equal(held.images[:4])
    assert again.shape == held.images.shape


def _child(images: StreamedImages, queue: "multiprocessing.Queue[bytes]") -> None:
    queue.put(images[:4].numpy().tobytes())


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_used_in_a_forked_process(tmp_path: Path) -> None:
    """A DataLoader's worker inherits threads that do not run, and a batch that nobody reads."""
    held, streamed = both(f"folder:{photos(tmp_path)}", 2)
    streamed.images[:4]
    streamed.images.prefetch(torch.arange(4))
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_child, args=(streamed.images, queue))
    child.start()
    try:
        assert queue.get(timeout=PATIENCE) == held.images[:4].numpy().tobytes()
    finally:
        child.kill()
        child.join()


def test_workers_leave_the_main_threads_number_alone(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        _, streamed = both(f"folder:{photos(tmp_path)}", 2)
        streamed.images[:8]
        assert torch.get_num_threads() == 2
        assert streamed.images._pool.submit(torch.get_num_threads).result() == 1
        with ThreadPoolExecutor(1) as other:
            assert other.submit(torch.get_num_threads).result() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("ahead", [False, True])
def test_a_file_that_is_lost_on_the_way(tmp_path: Path, workers: int, ahead: bool) -> None:
    streamed = load(f"folder:{photos(tmp_path)}", stream=True, workers=workers)
    (tmp_path / "class0" / "2.jpg").unlink()
    if ahead:
        streamed.images.prefetch(torch.tensor([1, 2]))
    with pytest.raises(InputError, match="image 2 could be read when the source was opened and cannot be read now"):
        streamed.images[torch.tensor([1, 2])]
    assert streamed.images[torch.tensor([1])].shape == (1, 3, 32, 32)


def test_a_gray_source_that_becomes_color_is_not_grayed_in_silence(tmp_path: Path) -> None:
    streamed = load(f"folder:{photos(tmp_path, color=False)}", stream=True)
    Image.new("RGB", (9, 9), (200, 2, 3)).save(tmp_path / "class0" / "0.png")
    with pytest.raises(InputError, match="it has colors and had none"):
        streamed.images[0]


@pytest.mark.filterwarnings("error")
def test_pillows_warnings_stay_unheard(tmp_path: Path) -> None:
    root = photos(tmp_path)
    clear = Image.new("P", (8, 8), 0)
    clear.putpalette([10, 20, 30, 200, 100, 0])
    clear.save(root / "class0" / "0.png", transparency=bytes([0, 255]))
    held, streamed = both(f"folder:{root}", 2)
    streamed.images.prefetch(torch.arange(6))
    assert streamed.images[torch.arange(6)].equal(held.images[:6])
    assert warnings.filters[0][0] == "error"


def test_negative_workers() -> None:
    with pytest.raises(InputError, match="workers must be at least 0, got -1"):
        load("digits", workers=-1)


def test_sources_that_are_no_image_files_are_read_all_the_same() -> None:
    assert load("digits", stream=True, workers=2).checksum() == load("digits").checksum()


def test_chunks_are_the_rows_in_order() -> None:
    images = torch.arange(7).byte().view(7, 1, 1, 1).expand(7, 1, 2, 2)
    parts = list(in_chunks(images, torch.tensor([6, 0, 3]), numbers=8))
    assert [part[:, 0, 0, 0].tolist() for part in parts] == [[6, 0], [3]]
    assert torch.cat(list(in_chunks(images, numbers=1))).equal(images)


def peak() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


class Plain:
    """Images of one gray each that cost no time to read, so that there can be many."""

    size = 128

    def __len__(self) -> int:
        return 4000

    def read(self, row: int) -> tuple[torch.Tensor, int]:
        return torch.full((3, self.size, self.size), row % 256, dtype=torch.uint8), row % 7

    def identity(self) -> str:
        return ""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak of memory cannot be read here")
def test_memory_is_bounded() -> None:
    """197 MB of images pass through in less than half of that; in memory they are all there."""
    reader = Plain()
    whole = len(reader) * 3 * reader.size**2

    def cost(action: Callable[[], object]) -> int:
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
        before = peak()
        action()
        return peak() - before

    def stream() -> None:
        found = gather(reader, "plain", stream=True, workers=2)
        store = ImageStore("plain", found.images, found.labels)
        for rows in torch.randperm(len(store), generator=torch.Generator().manual_seed(0)).split(64):
            assert store.images[rows][:, 0, 0, 0].tolist() == (rows % 256).tolist()
        store.checksum()

    assert whole > 190e6
    assert cost(stream) < whole / 2
    assert cost(lambda: gather(reader, "plain")) > 0.9 * whole  # some of what others left is used again

"""Object stores by litdata; a folder stands in for one, which litdata reads by the same calls."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from metatc2.data import StreamedImages, load
from metatc2.errors import InputError

litdata = pytest.importorskip("litdata", reason="the extra litdata is not installed")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METATC2_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setattr(time, "sleep", lambda seconds: None)


def photos(root: Path, *folders: str) -> Path:
    random = np.random.default_rng(0)
    for folder in folders:
        (root / folder).mkdir(parents=True)
        for i in range(3):
            Image.fromarray(random.integers(0, 256, (12, 15, 3), dtype=np.uint8)).save(root / folder / f"{i}.png")
    (root / "list.txt").write_text("no image")
    return root


def test_images_are_those_of_a_folder(tmp_path: Path) -> None:
    root = photos(tmp_path / "photos", "train/ant", "train/bee", "test/ant", "test/bee")
    before = sorted(root.rglob("*"))
    expected = load(f"folder:{root}", image_size=12)
    held = load(f"litdata:{root}", image_size=12, root=tmp_path / "own")
    streamed = load(f"litdata:{root}/", image_size=12, root=tmp_path / "own", stream=True, workers=3)
    assert isinstance(streamed.images, StreamedImages)
    assert held.checksum() == expected.checksum() == streamed.checksum()
    assert held.class_names == ("ant", "bee")
    assert streamed.images[torch.tensor([9, 2])].equal(expected.images[[9, 2]])
    assert sorted(root.rglob("*")) == before  # nothing is written to the store


def test_a_store_that_fails_is_asked_again_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = photos(tmp_path / "photos", "ant", "bee")
    streamed = load(f"litdata:{root}", root=tmp_path / "own", stream=True)
    usual, failures = litdata.StreamingRawDataset.__getitem__, [2]

    def failing(self: Any, index: int) -> Any:
        if index == 4 and failures[0]:
            failures[0] -= 1
            raise RuntimeError("503 slow down")
        return usual(self, index)

    monkeypatch.setattr(litdata.StreamingRawDataset, "__getitem__", failing)
    assert streamed.images[4].shape == (3, 32, 32)
    failures[0] = 99
    with pytest.raises(
        InputError, match=r"photos/bee/1\.png cannot be read now \(the store .*503 slow down, tried 3 times\)"
    ):
        streamed.images[4]


def test_a_store_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="no folder /nowhere; give one, or where an object store has it"):
        load("litdata:/nowhere")
    with pytest.raises(InputError, match="no image there"):
        load(f"litdata:{tmp_path}", root=tmp_path / "own")

    def unreachable(*_: Any, **__: Any) -> Any:
        raise OSError("Could not connect to the endpoint URL")

    monkeypatch.setattr(litdata.raw.indexer.FileIndexer, "discover_files", unreachable)
    with pytest.raises(
        InputError, match=r"s3://bucket/photos: the store does not list it \(Could not connect to the endpoint"
    ):
        load("litdata:s3://bucket/photos", root=tmp_path / "own")

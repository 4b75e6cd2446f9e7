"""A cache folder that others write to: whatever they left under the name of a cached file is found again, and runs no code."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save

from metatc2.data import gather, load
from metatc2.data.cache import recall, remember, whole_archive
from metatc2.data.decoding import BINS, Depth
from metatc2.data.digests import image_digests
from metatc2.data.sources import glyphs
from metatc2.io.safetensors_file import tensors_sha256
from metatc2.transfer.feature_table import _read

COUNT = 6


class Code:
    """To read it by pickle would make a folder."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (f"{os.environ['METATC2_CACHE']}/ran",)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("METATC2_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for i in range(COUNT):
            content = io.BytesIO()
            Image.new("L", (8, 8), 20 * i).save(content, "png")
            for name, raw in ((f"{i}.png", content.getvalue()), (f"{i}.cls", b"%d" % (i % 2))):
                member = tarfile.TarInfo(name)
                member.size = len(raw)
                tar.addfile(member, io.BytesIO(raw))
    return tmp_path / "a.tar"


def seen(shard: Path) -> tuple[Any, ...]:
    """All that is cached of it."""
    store = load(f"wds:{shard}", stream=True)
    every = torch.arange(len(store.images))
    digests = image_digests(store.images, every).tolist()
    return store.images[every].tolist(), store.labels.tolist(), store.class_names, store.checksum(), digests


def poison(file: Path, arrays: dict[str, Any]) -> None:
    """As `remember` writes them, its checksum included."""
    content = io.BytesIO()
    np.savez(content, **arrays)
    file.write_bytes(hashlib.sha256(content.getvalue()).digest() + content.getvalue())


WRONG: dict[str, Callable[[Any], Any]] = {
    "another type": lambda a: np.zeros(a.shape, dtype="M8[s]"),
    "texts": lambda a: np.full(a.shape, "\x1b[31m"),
    "not finite": lambda a: np.full(a.shape, np.nan),
    "a number": lambda a: np.array(1) if a.ndim else np.array("x"),
    "longer": lambda a: np.concatenate([np.atleast_1d(a), np.ones((2, *a.shape[1:]), a.dtype)]),
    "another axis": lambda a: a[None],
    "code": lambda a: np.array([Code()] * COUNT, dtype=object),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_arrays_under_a_right_checksum(wrong: str, cache: Path, shard: Path) -> None:
    right = seen(shard)
    files = {file: np.load(io.BytesIO(file.read_bytes()[32:])) for file in cache.iterdir()}
    assert len(files) == 4
    for place in range(6):  # one of the arrays of every file at a time
        for file, kept in files.items():
            name = kept.files[place % len(kept.files)]
            # Class names are of any number, and texts are what they and reasons are.
            if (wrong, name) not in {("longer", "class_names"), ("texts", "class_names"), ("texts", "reasons")}:
                poison(file, {**kept, name: WRONG[wrong](kept[name])})
        assert seen(shard) == right, place
    assert not (cache / "ran").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("shards", 1),
        ("shards", -1),
        ("offsets", 10**18),
        ("offsets", -1),
        ("sizes", 10**18),
        ("sizes", -1),
        ("labels", 2),
    ],
)
def test_an_index_that_leads_out_of_its_tars(name: str, value: int, cache: Path, shard: Path) -> None:
    right = seen(shard)
    for file in cache.iterdir():
        arrays = dict(np.load(io.BytesIO(file.read_bytes()[32:])))
        if "shards" in arrays:
            poison(file, {**arrays, name: np.full_like(arrays[name], value)})
    assert seen(shard) == right


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [
        ("depths", (0, 0), 3),  # of an image that is not there
        ("depths", (0, 0), -1),
        ("depths", (0, 1), 65535),  # black is white
        ("depths", (0, -1), np.inf),
        ("channels", 1, 2),
        ("channels", 1, 0),  # a second one that cannot be read, and one reason
        ("cut", 0, 1),
        ("cut", 0, -0.1),
        ("cut", 0, np.nan),
    ],
)
def test_what_was_found_of_images_is_possible(name: str, place: Any, value: float) -> None:
    """Of three images, of which the last cannot be read and the second has 16 bits."""
    depths = np.zeros((1, len(Depth._fields) + BINS))
    depths[0, :3] = 1, 0, 65535
    facts: dict[str, Any] = {"channels": np.array([1, 3, 0], np.uint8), "depths": depths, "cut": np.zeros(3)}
    facts["reasons"] = np.array(["a"])
    assert gather._fits(facts)
    facts[name][place] = value
    assert not gather._fits(facts)


def test_holes_and_what_was_packed_are_seen_before_they_are_read() -> None:
    whole, packed = io.BytesIO(), io.BytesIO()
    np.savez(whole, a=np.zeros(99))
    np.savez_compressed(packed, a=np.zeros(1 << 16))
    for archive, before, most, right in (
        (whole, 32, 1 << 20, True),
        (whole, 1 << 20, 1 << 20, False),
        (packed, 32, 1 << 20, True),
        (packed, 32, 1 << 18, False),
    ):
        content = bytes(before) + archive.getvalue()
        assert whole_archive(io.BytesIO(content), len(content), most) is right


@pytest.mark.parametrize("kind", ["pipe", "folder", "link to itself", "link to a device", "holes", "packed", "empty"])
def test_what_is_no_cached_file(kind: str, cache: Path) -> None:
    remember("a key", {"a": np.arange(3)})
    (file,) = cache.iterdir()
    file.unlink()
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    elif kind.startswith("link"):
        file.symlink_to(file if "itself" in kind else "/dev/zero")
    else:
        file.touch()
        if kind == "holes":
            os.truncate(file, 1 << 40)  # to read it would take all memory
        if kind == "packed":
            content = io.BytesIO()
            np.savez_compressed(content, a=np.zeros(1 << 20, dtype=np.int64))
            file.write_bytes(hashlib.sha256(content.getvalue()).digest() + content.getvalue())
    assert recall("a key", {"a": (np.int64, (None,))}) is None
    remember("a key", {"a": np.arange(3)})
    found = recall("a key", {"a": (np.int64, (3,))})
    assert (found is None) == (kind == "folder")  # which is not taken away; whatever else is, is replaced


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("images", np.zeros((1, 28, 28))),
        ("labels", np.full(2, 9)),
        ("domains", np.full(2, -1)),
        ("scripts", np.zeros(3, int)),
        ("scripts", np.full(2, 99)),
        ("scripts", np.full(2, -1)),
    ],
)
def test_rendered_glyphs(name: str, value: Any, tmp_path: Path) -> None:
    arrays: dict[str, Any] = {"images": np.zeros((2, 28, 28), np.uint8), "characters": np.array(["a", "b"])}
    arrays |= {part: np.array([0, 1]) for part in ("labels", "domains", "scripts")}
    glyphs._write_cache(tmp_path / "right.npz", arrays)
    assert glyphs._read_cache(tmp_path / "right.npz") is not None
    glyphs._write_cache(tmp_path / "wrong.npz", {**arrays, name: value})
    assert glyphs._read_cache(tmp_path / "wrong.npz") is None


def test_rendered_glyphs_that_unpack_to_more_than_memory_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np, "load", lambda *words, **options: pytest.fail("unpacked"))
    monkeypatch.setattr(glyphs, "_MOST_BYTES", 1 << 16)
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", bytes(1 << 16) + b"0")
    assert glyphs._read_cache(tmp_path / "a.npz") is None


@pytest.mark.parametrize(
    "wrong", [torch.full((2, 3), torch.nan), torch.zeros(2, 3, dtype=torch.int64), torch.zeros(3, 3)]
)
def test_kept_features(wrong: torch.Tensor, tmp_path: Path) -> None:
    for features in (torch.zeros(2, 3), wrong):
        about = {"key": "k", "sha256": tensors_sha256({"features": features})}
        (tmp_path / "a.safetensors").write_bytes(save({"features": features}, about))
        assert (_read(tmp_path / "a.safetensors", "k", 2) is None) == (features is wrong)

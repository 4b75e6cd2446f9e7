"""WebDataset tars: the images that the same files are in a folder, read where they lie in the tar."""

import io
import json
import os
import tarfile
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch

from metatc2.data import ImageStore, StreamedImages, UnreadableImages, load
from metatc2.data.sources.wds import _samples
from metatc2.errors import InputError

SIZE = 12


pytestmark = pytest.mark.usefixtures("own_cache")
NAMES = ("ant", "bee", "cat")  # of the fixture `photos`


def tar(path: Path, members: Iterable[tuple[str, bytes]], format: int = tarfile.USTAR_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=format) as opened:
        for name, content in members:
            about = tarfile.TarInfo(name)
            about.size = len(content)
            opened.addfile(about, io.BytesIO(content))
    return path


def samples(photos: Path, label: Callable[[str], tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    members = []
    for i, file in enumerate(sorted(photos.rglob("*.png"))):
        ending, content = label(file.parent.name)
        members += [(f"{i:04d}.png", file.read_bytes()), (f"{i:04d}.{ending}", content)]
    return members


def both(source: str) -> ImageStore:
    held, streamed = load(source, image_size=SIZE), load(source, image_size=SIZE, stream=True, workers=2)
    assert isinstance(streamed.images, StreamedImages)
    assert streamed.images.fingerprint()
    assert streamed.checksum() == held.checksum() == load(source, image_size=SIZE, stream=True).checksum()
    return held


LABELS: dict[str, Callable[[str], tuple[str, bytes]]] = {
    "number": lambda name: ("cls", str(NAMES.index(name)).encode()),
    "word": lambda name: ("cls", f"{name}\n".encode()),
    "json": lambda name: ("json", json.dumps({"caption": "x", "label": name}).encode()),
}


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_images_are_those_of_the_files(photos: Path, tmp_path: Path, kind: str, format: int) -> None:
    members = samples(photos, LABELS[kind])
    if format != tarfile.USTAR_FORMAT:  # names that need a header of their own
        members = [("folder/" * 40 + name, content) for name, content in members]
    tar(tmp_path / "0000.tar", members[:14], format)
    tar(tmp_path / "0001.tar", members[14:], format)
    held, expected = both(f"wds:{tmp_path}"), load(f"folder:{photos}", image_size=SIZE)
    assert held.images[:].equal(expected.images[:])
    assert held.labels.equal(expected.labels)
    assert held.class_names == (("0", "1", "2") if kind == "number" else NAMES)
    assert (held.originals == expected.originals).all()


def test_tars_are_named_by_patterns_and_are_splits(photos: Path, tmp_path: Path) -> None:
    members = samples(photos, LABELS["number"])
    for number in range(3):
        tar(tmp_path / f"train-{number:03d}.tar", members[6 * number : 6 * number + 6])
    tar(tmp_path / "test-000.tar", members[18:])
    held = both(f"wds:{tmp_path}")
    assert held.splits["test"].tolist() == [0, 1, 2]  # by the order of the names
    assert held.splits["train"].tolist() == [*range(3, 12)]
    some = load(f"wds:{tmp_path}/train-{{000..001}}.tar", image_size=SIZE)
    assert some.images[:].equal(load(f"wds:{tmp_path}/train-00[01].tar", image_size=SIZE).images[:])
    assert some.images[:].equal(held.images[3:9])
    assert len(load(f"wds:{tmp_path}/test-000.tar")) == 3
    with pytest.raises(InputError, match=r"2 of 5 tars are not there \(first \S+train-003\.tar\)"):
        load(f"wds:{tmp_path}/train-{{000..004}}.tar")
    with pytest.raises(InputError, match=r"\{0\.\.999999999\} names more than 100000 tars"):
        load(f"wds:{tmp_path}/train-{{0..999999999}}.tar")


def test_no_labels_at_all(photos: Path, tmp_path: Path) -> None:
    members = [member for member in samples(photos, LABELS["word"]) if member[0].endswith("png")]
    held = both(f"wds:{tar(tmp_path / 'a.tar', members)}")
    assert (held.class_names, held.labels.tolist()) == (("0",), [0] * 12)


def test_nothing_is_unpacked_and_members_do_not_leave_their_tar(photos: Path, tmp_path: Path) -> None:
    """Names that lead out, links, devices: none of them is followed, and an image among them is read."""
    image = (photos / "ant" / "1.png").read_bytes()
    path = tar(
        tmp_path / "shards" / "a.tar",
        [("../../out.png", image), ("../../out.cls", b"3"), ("/etc/b.png", image), ("/etc/b.cls", b"4")],
    )
    secret = tmp_path / "secret.png"
    secret.write_bytes(image)
    with tarfile.open(path, "a") as opened:
        for kind, name in ((tarfile.SYMTYPE, "c.png"), (tarfile.LNKTYPE, "d.png"), (tarfile.CHRTYPE, "e.png")):
            about = tarfile.TarInfo(name)
            about.type, about.linkname = kind, str(secret)
            opened.addfile(about)
    before = sorted(tmp_path.rglob("*"))
    held = both(f"wds:{path}")
    assert (len(held), held.class_names) == (2, ("3", "4"))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_damaged_image_is_left_out(photos: Path, tmp_path: Path) -> None:
    members = samples(photos, LABELS["word"])
    members[4] = members[4][0], b"none"
    path = tar(tmp_path / "a.tar", members)
    with pytest.warns(
        UnreadableImages, match=r"1 of 12 images cannot be read.*a\.tar at byte \d+ \(Pillow finds no image"
    ):
        assert len(both(f"wds:{path}")) == 11


def test_a_tar_that_changed_is_indexed_again(photos: Path, tmp_path: Path) -> None:
    members = samples(photos, LABELS["word"])
    source = f"wds:{tar(tmp_path / 'a.tar', members)}"
    before = both(source)
    tar(tmp_path / "a.tar", members[8:])
    assert len(both(source)) == len(before) - 4


def cut(path: Path, at: int) -> None:
    os.truncate(path, at)


def spoiled(path: Path, at: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[at : at + 512] = b"\xff" * 512
    path.write_bytes(raw)


@pytest.mark.parametrize(
    ("how", "at"),
    [*((cut, at) for at in (0, 100, 700, 1024, 3000, 9 * 1024)), *((spoiled, at) for at in (0, 1024, 4096, 9 * 1024))],
)
def test_a_tar_that_is_none_or_a_part_of_one(
    photos: Path, tmp_path: Path, how: Callable[[Path, int], None], at: int
) -> None:
    """Python's tarfile stops without a word where it finds no header."""
    path = tar(tmp_path / "a.tar", [(f"{i}.ppm", b"P5 1 1 255 x" * 40) for i in range(9)])
    how(path, at)
    with pytest.raises(InputError, match=r"a\.tar (is no tar, or a part of one|cannot be read)"):
        load(f"wds:{path}")


def test_a_size_below_zero_ends_the_reading(tmp_path: Path) -> None:
    about = tarfile.TarInfo("a.png")
    header = bytearray(about.tobuf(tarfile.GNU_FORMAT))
    header[124:136] = (-(10**6)).to_bytes(12, "big", signed=True)
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    (tmp_path / "a.tar").write_bytes(header + bytes(1024))
    with pytest.raises(InputError, match="is no tar, or a part of one"):
        load(f"wds:{tmp_path / 'a.tar'}")


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        ([("a.png", b"x"), ("a.jpg", b"x")], r"sample 'a' of \S+ has 2 images \(\.png, \.jpg\)"),
        ([("a.png", b"x"), ("a.cls", b"1"), ("b.png", b"x")], "sample 'b' .* has no label .* and others do"),
        ([("a.txt", b"x")], "no image in its 1 tars"),
    ],
)
def test_samples_that_do_not_fit(tmp_path: Path, members: list[tuple[str, bytes]], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        load(f"wds:{tar(tmp_path / 'a.tar', members)}")


def test_what_is_no_tar(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no .tar file there"):
        load(f"wds:{tmp_path / 'empty'}")
    (tmp_path / "a.tar.gz").write_bytes(b"")
    for source in (tmp_path, tmp_path / "a.tar.gz", tmp_path / "*.gz"):
        with pytest.raises(InputError, match="is compressed, so no image in it can be read by itself; unpack it"):
            load(f"wds:{source}")
    with pytest.raises(InputError, match="1 of 1 tars are not there"):
        load(f"wds:{tmp_path / 'none.tar'}")


def test_the_index_costs_no_memory_for_what_was_passed(tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar", ((f"{i}.png", b"x") for i in range(1000)))
    tracemalloc.start()
    try:
        assert sum(sample.image is not None for sample in _samples("toy", str(path))) == 1000
        assert tracemalloc.get_traced_memory()[1] < 100_000  # a `TarInfo` that is kept has about 800 bytes
    finally:
        tracemalloc.stop()


def test_rows_are_read_by_themselves(photos: Path, tmp_path: Path) -> None:
    source = f"wds:{tar(tmp_path / 'a.tar', samples(photos, LABELS['word']))}"
    held, streamed = load(source, image_size=SIZE), load(source, image_size=SIZE, stream=True)
    order = torch.tensor([11, 0, 7, 7, 2])
    assert streamed.images[order].equal(held.images[order])


def test_a_label_that_would_fill_the_memory(tmp_path: Path, photos: Path) -> None:
    # Class names are kept at the length of the longest.
    members = [("a.png", b"x"), ("a.cls", b"x" * 1001)]
    with pytest.raises(InputError, match="the label of sample 'a' of .* has 1001 characters; write"):
        load(f"wds:{tar(tmp_path / 'a.tar', members)}")


@pytest.mark.parametrize("pattern", ["{0..99999}{0..99999}", "{0..9}" * 9, "{0..100000}", "{0000000000..9}"])
def test_patterns_of_more_tars_than_there_can_be(pattern: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="names more than 100000 tars; name those that are there"):
        load(f"wds:{tmp_path}/{pattern}.tar")

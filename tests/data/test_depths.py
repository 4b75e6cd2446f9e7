"""Images of more than 8 bits a pixel: what is lost is said, and black and white can be named."""

from __future__ import annotations

import re
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from metatc2.data import DepthLost, load
from metatc2.data.decoding import declared_range, from_pillow
from metatc2.data.sources.clips import load_clips
from metatc2.errors import InputError

RAMP = np.arange(4096).reshape(64, 64)


def scans(root: Path, write: Callable[[Path, int], None], ending: str = "png") -> Path:
    for kind in ("a", "b"):
        for i in range(2):
            file = root / kind / f"{i}.{ending}"
            file.parent.mkdir(parents=True, exist_ok=True)
            write(file, i)
    return root


def saved(values: NDArray[np.integer] | NDArray[np.floating]) -> Callable[[Path, int], None]:
    return lambda file, i: Image.fromarray(values).save(file)


def levels(root: Path, **options: object) -> int:
    store = load(f"folder:{root}", image_size=64, **options)  # type: ignore[arg-type]
    return len(store.images[:][0].unique())


@pytest.mark.parametrize("stream", [False, True])
def test_twelve_bits_in_sixteen_are_said_and_cured(tmp_path: Path, stream: bool) -> None:
    root = scans(tmp_path, saved(RAMP.astype(np.uint16)))
    said = (
        r"folder:.*: 4 images have more than 8 bits a pixel: .*a/0\.png keeps 17 of 4096 gray levels, since 65535 is white "
        r"and no value of the source is above 4095; .*data\.value_range=0,4095.*value_range=\(0, 4095\)"
    )
    for _ in range(2):  # the second time from what was remembered
        with pytest.warns(DepthLost, match=said):
            assert levels(root, stream=stream) == 17
    assert levels(root, stream=stream, value_range=(0, 4095)) == 256
    streamed, held = (
        load(f"folder:{root}", image_size=64, stream=s, value_range=(0, 4095)).checksum() for s in (True, False)
    )
    assert streamed == held


def test_signed_and_float_values_are_said(tmp_path: Path) -> None:
    """As of a CT: from -1024 to 3071, in 16 bits with a sign, 32 bits, and floats."""
    for kind in (np.int16, np.int32, np.float32):
        values = (RAMP - 1024).astype(kind)
        root = scans(tmp_path / kind.__name__, lambda f, i, v=values: write_tiff(f, v), "tif")
        with pytest.warns(
            DepthLost, match=r"13 (of 4096 )?gray levels.*values below 0 .*has -1024 to 3071.*-1024,4095"
        ):
            assert levels(root) == 13
        assert levels(root, value_range=(-1024, 3071)) == 256


def write_tiff(file: Path, values: NDArray[np.generic]) -> None:
    """An uncompressed gray TIFF of one strip, of any type, as the specification lays it out."""
    kinds = {"u": 1, "i": 2, "f": 3}
    entries = [
        (256, 4, values.shape[1]),
        (257, 4, values.shape[0]),
        (258, 3, 8 * values.itemsize),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 8 + 2 + 10 * 12 + 4),
        (277, 3, 1),
        (278, 4, values.shape[0]),
        (279, 4, values.nbytes),
        (339, 3, kinds[values.dtype.kind]),
    ]
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    head += b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries) + b"\0\0\0\0"
    file.write_bytes(head + values.astype(values.dtype.newbyteorder("<")).tobytes())


def test_a_source_is_not_scaled_in_two_ways_without_a_word(tmp_path: Path) -> None:
    """Each image of 32 bits is scaled by the smallest white that holds it: a dark one by another than a bright one."""
    dark, bright = np.full((8, 8), 200, dtype=np.int32), np.full((8, 8), 40_000, dtype=np.int32)
    root = scans(tmp_path, lambda file, i: Image.fromarray((dark, bright)[i]).save(file), "tif")
    with pytest.warns(DepthLost, match=r"white is 255 in .*a/0\.tif and 65535 in others.*data\.value_range=0,65535"):
        load(f"folder:{root}")
    store = load(f"folder:{root}", value_range=(0, 65535))
    assert store.images[:][:2, 0, 0, 0].tolist() == [1, 156]


def test_brighter_than_white_is_said(tmp_path: Path) -> None:
    root = scans(tmp_path, saved(RAMP.astype(np.uint16)))
    with pytest.warns(
        DepthLost, match=r"above 1023 become black or white \(in 4 images, first .*a/0.png, which has 0 to 4095"
    ):
        load(f"folder:{root}", value_range=(0, 1023))
    large = scans(tmp_path / "large", saved(RAMP.astype(np.int32) * 100), "tif")
    with pytest.warns(DepthLost, match=r"above 65535 .*value_range=0,524287"):
        load(f"folder:{large}")


def test_colors_of_sixteen_bits_are_said(tmp_path: Path) -> None:
    """Pillow keeps the upper 8 bits of each color."""
    root = scans(tmp_path, lambda file, i: file.write_bytes(png_of_16_bit_colors(RAMP)))
    with pytest.warns(DepthLost, match=r"a/0\.png keeps 16 gray levels, since 65535 is white"):
        assert levels(root) == 16
    full = scans(tmp_path / "full", lambda file, i: file.write_bytes(png_of_16_bit_colors(RAMP * 16)))
    assert levels(full) == 256


def png_of_16_bit_colors(values: NDArray[np.integer]) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = values.shape
    rows = np.repeat(values.astype(">u2")[..., None], 3, axis=2).reshape(height, -1)
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    head = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def test_what_loses_nothing_says_nothing(tmp_path: Path) -> None:
    full = (RAMP * 16).astype(np.uint16)
    dark = np.full((8, 8), 200, dtype=np.uint16)
    for name, write in {
        "full": saved(full),
        "one dark among bright": lambda file, i: Image.fromarray((dark, full)[i]).save(file),
        "one level": saved(dark),
        "8 bits": saved(RAMP.astype(np.uint8)),
    }.items():
        root = scans(tmp_path / name, write)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            load(f"folder:{root}")


def test_a_gray_map_says_its_own_white(tmp_path: Path) -> None:
    """Twelve bits in a PGM, whose header names the largest value: nothing is lost, also where the picture is dark."""
    for values, expected in ((RAMP, 256), (RAMP // 64, 4)):
        root = scans(tmp_path / str(expected), lambda f, i, v=values: write_pgm(f, v), "pgm")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore" if expected == 4 else "error")
            store = load(f"folder:{root}", image_size=64)
        assert abs(int(store.images.max()) - values.max() / 4095 * 255) <= 0.5
        assert len(store.images.unique()) in (expected, expected + 1)


def write_pgm(file: Path, values: NDArray[np.integer]) -> None:
    file.write_bytes(b"P5 64 64 4095\n" + values.astype(">u2").tobytes())


def test_what_is_no_number_is_black_and_what_is_infinite_white() -> None:
    values = np.array([[np.nan, -np.inf], [np.inf, 0.5]], dtype=np.float32)
    assert from_pillow(Image.fromarray(values)).tolist() == [[[0, 0], [255, 128]]]


def test_clips_and_other_sources_take_the_range(tmp_path: Path) -> None:
    for place in ("a/one", "a/two", "b/one", "b/two"):
        (tmp_path / place).mkdir(parents=True)
        Image.fromarray(RAMP.astype(np.uint16)).save(tmp_path / place / "0.png")
    for source in ("clips", "domains"):
        with pytest.warns(DepthLost, match=f"^{source}:"):
            load(f"{source}:{tmp_path}", image_size=64)
        store = load(f"{source}:{tmp_path}", image_size=64, value_range=(0, 4095))
        assert len(store.images[:].unique()) == 256
    assert len(load_clips(tmp_path, 64, value_range=(0, 4095)).frames.unique()) == 256


@pytest.mark.parametrize("limits", [(1, 1), (5, 2), (0, float("nan")), (0, float("inf")), (1,), (0, 1, 2)])
def test_a_range_that_is_none(limits: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="digits: value_range must be two numbers, black and then a larger white"):
        load("digits", value_range=limits)


def test_the_range_changes_no_image_of_eight_bits() -> None:
    assert torch.equal(load("digits").images, load("digits", value_range=(0, 4095)).images)  # type: ignore[arg-type]


def said(root: Path, **options: Any) -> str:
    """What is said of a folder, in one warning."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load(f"folder:{root}", image_size=64, **options)
    assert len(caught) <= 1
    assert all(warning.category is DepthLost for warning in caught)
    return str(caught[0].message) if caught else ""


def write_ppm(file: Path, values: NDArray[np.integer], white: int = 65535, kind: int = 6) -> None:
    colors = np.repeat(values[..., None], 3, axis=2) if kind in (3, 6) else values
    data = b" ".join(b"%d" % v for v in colors.ravel()) if kind == 3 else colors.astype(">u2").tobytes()
    file.write_bytes(b"P%d 64 64 %d\n" % (kind, white) + data)


def write_sgi(file: Path, values: NDArray[np.integer]) -> None:
    head = struct.pack(">hBBHHHHII", 474, 0, 2, 3, 64, 64, 3, 0, 65535)
    file.write_bytes(head.ljust(512, b"\0") + b"".join(values[::-1].astype(">u2").tobytes() for _ in range(3)))


def write_jpeg_2000(file: Path, values: NDArray[np.integer]) -> None:
    """Of 8 bits, then said to have 16 in each of three components: what was written in them is its upper part."""
    Image.fromarray((values // 256).astype(np.uint8)).convert("RGB").save(file)
    content = bytearray(file.read_bytes())
    at = content.find(b"\xff\x4f\xff\x51")
    for component in range(3):
        content[at + 42 + 3 * component] = 15
    file.write_bytes(content)


WIDE_COLORS: dict[str, Callable[[Path, NDArray[np.integer]], None]] = {
    "6.ppm": write_ppm,
    "3.ppm": lambda file, values: write_ppm(file, values, kind=3),
    "colors.png": lambda file, values: file.write_bytes(png_of_16_bit_colors(values)),
}


@pytest.mark.parametrize("format_", WIDE_COLORS)
def test_wide_colors_of_every_format_are_said(tmp_path: Path, format_: str) -> None:
    for name, values, words in (
        (
            "twelve bits",
            RAMP,
            r"keeps 1[67] gray levels, since 65535 is white and no value of the source is above [34]\d\d\d;",
        ),
        (
            "bright",
            RAMP + 57344,
            r"keeps 1[67] gray levels, since 0 is black, 65535 is white and no value .* below 5\d+ or",
        ),
        ("seven bits", RAMP // 32, "keeps 1 gray level, since 65535 is white"),
        ("all", RAMP * 16, ""),
    ):
        root = scans(tmp_path / name, lambda f, i, v=values: WIDE_COLORS[format_](f, v), format_)
        found = said(root)
        assert re.search(words, found) if words else not found, found
        # Naming black and white gives nothing back that Pillow has thrown away.
        assert not words or found.endswith("so store colors with 8 bits, scaled to them")


def test_a_header_says_how_wide_colors_are(tmp_path: Path) -> None:
    root = scans(tmp_path / "own white", lambda f, i: write_ppm(f, RAMP, 4095), "ppm")
    assert not said(root)  # a header that names 4095 as the largest value
    assert levels(root) in (255, 256)
    wide = tmp_path / "wide.jp2"
    write_jpeg_2000(wide, RAMP)
    narrow = tmp_path / "narrow.jp2"
    Image.fromarray(RAMP.astype(np.uint8)).convert("RGB").save(narrow)
    write_sgi(tmp_path / "wide.sgi", RAMP)
    for file, expected in ((wide, (0.0, 65535.0)), (narrow, None), (tmp_path / "wide.sgi", (0.0, 65535.0))):
        with Image.open(file) as opened:
            assert declared_range(opened) == expected


@pytest.mark.parametrize(
    ("values", "words", "limits"),
    [
        (RAMP / 4095e3, r"keeps 1 of 4096 gray level, since 1 is white .* above 0\.001;", (0, 0.001)),
        (
            RAMP / 4095 * 0.02 + 0.5,
            r"keeps \d of 4096 .* 0 is black, 1 is white and .* below 0\.5 or above 0\.52",
            (0.5, 0.52),
        ),
        (RAMP + 30000.0, r"keeps 17 of 4096 .* below 30000 or above 34095", (30000, 34095)),
        (-RAMP / 4095, r"keeps 1 of 4096 gray .* values below 0 .*has -1 to 0", (-1, 0)),
        (RAMP * 1e-40, r"keeps 1 of 4096 gray level", None),
        (RAMP / 4095, "", None),
    ],
    ids=["thousandths", "narrow", "large", "negative", "tiny", "full"],
)
def test_floats_that_lose_their_range_are_said(
    tmp_path: Path, values: NDArray[np.floating], words: str, limits: tuple[float, float] | None
) -> None:
    root = scans(tmp_path, saved(values.astype(np.float32)), "tif")
    found = said(root)
    assert re.search(words, found) if words else not found, found
    if limits:
        named = re.search(r"value_range=\(([^)]*)\)", found)
        assert named
        low, high = map(float, named[1].split(","))
        assert (low, high) == pytest.approx(limits, abs=0.02 * (limits[1] - limits[0]))
        assert levels(root, value_range=(low, high)) > 240


def test_narrow_ranges_of_whole_numbers_are_said_too(tmp_path: Path) -> None:
    root = scans(tmp_path, saved((RAMP + 30000).astype(np.uint16)))
    assert re.search(r"keeps 1[67] of 4096 .*below 30000 or above 34095.*value_range=\(30000, 34095\)", said(root))
    assert levels(root, value_range=(30000, 34095)) == 256


def test_values_that_are_no_numbers_are_said(tmp_path: Path) -> None:
    values = (RAMP / 4095).astype(np.float32)
    broken = values.copy()
    broken[0, :3] = np.nan, np.inf, -np.inf
    root = scans(tmp_path, lambda file, i: Image.fromarray((values, broken)[i]).save(file), "tif")
    found = said(root)
    assert re.search(
        r"pixels that are NaN become black .*in 2 images, first .*a/1\.tif, which has 3\); give such", found
    )
    assert "value_range" not in found


@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize("stream", [False, True])
def test_a_few_bright_pixels_use_no_range(tmp_path: Path, every: bool, stream: bool) -> None:
    def write(file: Path, i: int) -> None:
        values = RAMP.astype(np.uint16)
        if every or file.match("*/a/0.png"):
            values[5, 5] = 65535
        Image.fromarray(values).save(file)

    found = said(scans(tmp_path, write), stream=stream)
    assert re.search(r"keeps 18 of 4096 .*and fewer than 0\.5% of the pixels of the source are above 4095", found), (
        found
    )
    assert "value_range=(0, 4095)" in found


def test_bright_parts_of_an_image_use_the_range(tmp_path: Path) -> None:
    """A tenth of one image of four: what is dark beside it has lost nothing."""
    full = RAMP.astype(np.uint16)
    bright = full.copy()
    bright[:7] = 65535
    root = scans(tmp_path, lambda f, i: Image.fromarray(bright if f.match("*/a/0.png") else full).save(f))
    assert not said(root)

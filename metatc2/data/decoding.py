"""Modes and depths: any image that Pillow opens as uint8 pixels, and what was lost on the way."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from metatc2.data.image_io import resize_square, share_cut
from metatc2.data.originals import gray_digests, thinned, value_digest
from metatc2.io.files import check_regular

ValueRange = tuple[float, float]

_FULL = 65535.0


class Depth(NamedTuple):
    """Of an image with more than 8 bits a pixel: what became of its values.

    Args:
        black: value that became 0.
        white: value that became 255.
        darkest: smallest value of the image.
        brightest: largest value of the image.
        levels: how many different values it had, of 65536 from the smallest to the largest; 0 for colors, of which Pillow
            shows the upper 8 bits alone.
        kept: how many different gray levels are left.
        unreal: how many of its pixels are NaN or infinite.
        shares: of its pixels in each sixteenth of the range from black to white, what lies outside in the first or last.
    """

    black: float
    white: float
    darkest: float
    brightest: float
    levels: float
    kept: float
    unreal: float
    shares: tuple[float, ...]


#: Parts of the range from black to white that `Depth.shares` tells apart.
BINS = 16


class Decoded(NamedTuple):
    """An image as a store holds it, and what is known of the one that it was made from.

    Args:
        pixels: uint8 ``(1 or 3, size, size)``.
        depth: see `Depth`; None for 8 bits a pixel.
        original: digest of the image before it was resized, see `metatc2.data.originals`.
        cut: share of it that the square does not hold.
    """

    pixels: Tensor
    depth: Depth | None
    original: int
    cut: float = 0.0


def read_image(file: str | Path | BytesIO, size: int, value_range: ValueRange | None = None) -> Decoded:
    """One image file, decoded and resized; of a moving picture the first frame.

    Args:
        file: of any format and mode that Pillow reads: its path, or its content.
        size: side of the result in pixels.
        value_range: see `from_pillow`.

    Raises:
        OSError: or another of Pillow's errors, if it cannot be read to its end.
        InputError: if it is a device or a pipe.
    """
    if not isinstance(file, BytesIO):
        check_regular(Path(file))
    with Image.open(file) as opened:
        declared = declared_range(opened)
        image = ImageOps.exif_transpose(opened)
    return decoded(image, size, value_range or declared, declared)


def decoded(
    image: Image.Image, size: int, value_range: ValueRange | None = None, declared: ValueRange | None = None
) -> Decoded:
    """An image of Pillow as `read_image` gives it.

    Args:
        image: as it is to be seen, its orientation applied.
        size: see `read_image`.
        value_range: see `from_pillow`.
        declared: see `declared_range`.
    """
    pixels, depth = _decoded(image, value_range)
    # Of more than 8 bits the values themselves count: what black and white are decides about the pixels.
    original = _value_digest(image) if depth is not None else int(gray_digests(pixels[None])[0])
    if depth is None and declared is not None:
        depth = _color_depth(pixels)
    cut = share_cut(*pixels.shape[-2:])
    return Decoded(resize_square(pixels[None], size)[0], depth, original, cut)


def from_pillow(image: Image.Image, value_range: ValueRange | None = None) -> Tensor:
    """An image of any mode as uint8 ``(1 or 3, H, W)``.

    Transparency is laid on white. Images of more than 8 bits a pixel are scaled by the values of black and white.

    Args:
        image: as Pillow opens it.
        value_range: values of black and white in images of more than 8 bits a pixel. By default 0 and 65535 for 16 bits;
            32-bit integers and floats do not say where white is, so the smallest of 1 (floats only), 255 and 65535 that
            holds the brightest pixel is taken. What lies outside becomes black or white.

    Raises:
        OSError: or another of Pillow's errors, if the image cannot be read to its end.

    >>> from_pillow(Image.new("RGBA", (5, 4))).shape
    torch.Size([3, 4, 5])
    >>> from_pillow(Image.new("I;16", (1, 1), 4095), (0, 4095)).item()
    255
    """
    return _decoded(image, value_range)[0]


def _decoded(image: Image.Image, value_range: ValueRange | None) -> tuple[Tensor, Depth | None]:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        # Pillow's own conversion would clip at 255.
        array, depth = _scaled(np.asarray(image, dtype=np.float64), image.mode, value_range)
        return torch.from_numpy(array)[None], depth
    mode = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    # Converting to its own mode would copy the image once more.
    pixels = torch.from_numpy(np.array(image if image.mode == mode else image.convert(mode)))
    return (pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)), None


def _scaled(values: NDArray[np.float64], mode: str, value_range: ValueRange | None) -> tuple[NDArray[np.uint8], Depth]:
    finite = values if mode != "F" else values[np.isfinite(values)]
    darkest, brightest = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    if value_range is None:
        whites = {"I": (255.0, _FULL), "F": (1.0, 255.0, _FULL)}.get(mode, (_FULL,))
        value_range = 0.0, next((white for white in whites if brightest <= white), _FULL)
    black, white = value_range
    # Limits come first: what is infinite, or nearly so, must not overflow.
    held = np.nan_to_num(values, nan=black, posinf=white, neginf=black).clip(black, white)
    array = ((held - black) * (255 / (white - black))).round().astype(np.uint8)
    span = brightest - darkest
    from_darkest = finite - darkest
    if mode == "F" or span > _FULL:
        from_darkest = (from_darkest / (span or 1.0) * _FULL).round()
    levels, unreal = _levels(from_darkest), values.size - finite.size
    shares = _shares((finite.clip(black, white) - black) / (white - black))
    return array, Depth(black, white, darkest, brightest, float(levels), float(_levels(array)), float(unreal), shares)


def _value_digest(image: Image.Image) -> int:
    values = np.asarray(image, dtype=np.float64)
    thin = thinned(torch.from_numpy(np.nan_to_num(values))).numpy()
    return 0 if (thin == thin.flat[0]).all() else value_digest(thin, values.shape)


def _levels(whole: NDArray[np.float64] | NDArray[np.uint8]) -> int:
    return int(np.count_nonzero(np.bincount(whole.ravel().astype(np.int64))))


def _shares(inside: NDArray[np.float64]) -> tuple[float, ...]:
    """Of values from 0 to 1."""
    bins = np.minimum((inside.ravel() * BINS).astype(np.int64), BINS - 1)
    shares: list[float] = (np.bincount(bins, minlength=BINS) / max(1, bins.size)).tolist()
    return tuple(shares)


def declared_range(opened: Image.Image) -> ValueRange | None:
    """Black and white of a file of more than 8 bits a sample where its format says them; asked before it is decoded."""
    raw = _raw_mode(opened)
    if raw.startswith("I;12"):  # 12 bits a pixel, packed: a TIFF that says so
        return 0.0, 4095.0
    # Pillow scales PGM and PNM to 16 bits, and what it opens of a PNG has 16.
    wide = ";16" in raw or (opened.format in ("PNG", "PPM") and opened.mode == "I") or _wide_header(opened)
    return (0.0, _FULL) if wide and not raw.startswith("I;16S") else None


def _raw_mode(opened: Image.Image) -> str:
    first = _decoder(opened)[1][0]
    return first if isinstance(first, str) else ""


def _wide_header(opened: Image.Image) -> bool:
    """Whether the header says more than 8 bits a sample where Pillow's modes do not: of colors it keeps the upper 8."""
    kind, arguments = _decoder(opened)
    if opened.format == "PPM":  # the largest value, of colors too
        return kind.startswith("ppm") and isinstance(arguments[-1], int) and arguments[-1] > 255
    if opened.format == "SGI":
        return kind == "SGI16" or (kind == "sgi_rle" and arguments[-1] == 2)
    return opened.format == "JPEG2000" and _jpeg_2000_bits(opened) > 8


def _jpeg_2000_bits(opened: Image.Image) -> int:
    """Bits a sample of the first component: a byte of the codestream's segment SIZ; 8 where it is not found."""
    file = getattr(opened, "fp", None)
    if file is None:
        return 8
    place = file.tell()
    file.seek(0)
    start = file.read(1 << 16)
    file.seek(place)
    at = start.find(b"\xff\x4f\xff\x51")
    return (start[at + 42] & 0x7F) + 1 if 0 <= at < len(start) - 42 else 8


def _decoder(opened: Image.Image) -> tuple[str, tuple[Any, ...]]:
    tile: Sequence[Any] = getattr(opened, "tile", None) or ()
    if not tile:
        return "", (None,)
    arguments = tile[0][3]
    return str(tile[0][0]), arguments if isinstance(arguments, tuple) and arguments else (arguments,)


def _color_depth(pixels: Tensor) -> Depth:
    """Of colors of 16 bits, of which Pillow keeps the upper 8."""
    values = pixels.numpy().astype(np.float64)
    low, high = 257 * float(values.min()), 257 * float(values.max())
    return Depth(0.0, _FULL, low, high, 0.0, float(_levels(values)), 0.0, _shares(values / 255))

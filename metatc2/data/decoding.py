"""Modes and depths: any image that Pillow opens as uint8 pixels, and what was lost on the way."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from metatc2.data.resize import resize_square
from metatc2.files import check_regular

ValueRange = tuple[float, float]

_FULL = 65535.0


class Depth(NamedTuple):
    """Of an image with more than 8 bits a pixel: what became of its values.

    Args:
        black: value that became 0.
        white: value that became 255.
        darkest: smallest value of the image.
        brightest: largest value of the image.
        levels: how many different values it had; 0 where Pillow does not tell.
        kept: how many different gray levels are left.
    """

    black: float
    white: float
    darkest: float
    brightest: float
    levels: float
    kept: float


def read_image(file: str | Path, size: int, value_range: ValueRange | None = None) -> tuple[Tensor, Depth | None]:
    """One image file as uint8 ``(1 or 3, size, size)``, and its `Depth`; of a moving picture the first frame.

    Args:
        file: of any format and mode that Pillow reads.
        size: side of the result in pixels.
        value_range: see `from_pillow`.

    Raises:
        OSError: or another of Pillow's errors, if it cannot be read to its end.
        InputError: if it is a device or a pipe.
    """
    check_regular(Path(file))
    with Image.open(file) as opened:
        declared = _declared(opened)
        image = ImageOps.exif_transpose(opened)
    pixels, depth = _decoded(image, value_range or declared)
    if depth is None and _wide_colours(declared, image):
        depth = _colour_depth(pixels)
    return resize_square(pixels[None], size)[0], depth


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
    darkest, brightest = float(finite.min(initial=np.inf)), float(finite.max(initial=-np.inf))
    if not finite.size:
        darkest = brightest = 0.0
    if value_range is None:
        whites = {"I": (255.0, _FULL), "F": (1.0, 255.0, _FULL)}.get(mode, (_FULL,))
        value_range = 0.0, next((white for white in whites if brightest <= white), _FULL)
    black, white = value_range
    # Limits come first: what is infinite, or nearly so, must not overflow.
    held = np.nan_to_num(values, posinf=white, neginf=black).clip(black, white)
    array = ((held - black) * (255 / (white - black))).round().astype(np.uint8)
    levels = _levels(values - darkest) if mode != "F" and brightest - darkest <= _FULL else 0
    return array, Depth(black, white, darkest, brightest, float(levels), float(_levels(array)))


def _levels(whole: NDArray[np.float64] | NDArray[np.uint8]) -> int:
    return int(np.count_nonzero(np.bincount(whole.ravel().astype(np.int64))))


def _declared(opened: Image.Image) -> ValueRange | None:
    """Black and white of a file of more than 8 bits a sample where its format says them; asked before it is decoded."""
    raw = _raw_mode(opened)
    if raw.startswith("I;12"):  # 12 bits a pixel, packed: a TIFF that says so
        return 0.0, 4095.0
    # Pillow scales PGM and PNM to 16 bits, and what it opens of a PNG has 16.
    wide = ";16" in raw or (opened.format in ("PNG", "PPM") and opened.mode == "I")
    return (0.0, _FULL) if wide and not raw.startswith("I;16S") else None


def _raw_mode(opened: Image.Image) -> str:
    tile: Sequence[object] = getattr(opened, "tile", None) or ()
    arguments = getattr(tile[0], "args", None) if tile else None
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _wide_colours(declared: ValueRange | None, image: Image.Image) -> bool:
    return declared is not None and image.mode in ("RGB", "RGBA", "RGBX", "LA", "La", "CMYK")


def _colour_depth(pixels: Tensor) -> Depth:
    """Of colours of 16 bits, of which Pillow keeps the upper 8."""
    low, high = 257.0 * float(pixels.min()), 257.0 * float(pixels.max())
    return Depth(0.0, _FULL, low, high, 0.0, float(len(pixels.unique())))

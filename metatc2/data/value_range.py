"""What is black and what is white in images of other than 8 bits.

How values become pixels of 8 bits is one rule for the whole of the images, and is written into the notes of the store
(``value_range``: what became black and white):

* 8 bits stay as they are, and truth values are black and white;
* whole numbers of more bits: black is 0, and white is the largest number of the fewest bits of 8, 10, 12, 14 and 16 that hold
  the brightest pixel of all images;
* floating point: black is 0, and white is 1, or 255 where the brightest pixel is above 1;
* in all other cases, negative numbers such as those of normalized images among them, ``value_range`` must be given. What lies
  outside of it becomes black or white.

Where the brightest pixel of all is above 1 and far below white, a `DarkImages` warning says so.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from metatc2.data.decoding import ValueRange
from metatc2.data.depths import check_value_range
from metatc2.errors import InputError
from metatc2.io.suggest import of_data

_BITS = (8, 10, 12, 14, 16)
#: Brightest pixels below it are a quarter of white or less, where white is 255.
_DARK = 64


class DarkImages(UserWarning):
    """Images are read as nearly black, since nothing says what is white in them."""


def black_and_white(images: Sequence[Tensor], asked: Sequence[float] | None, name: str) -> ValueRange | None:
    """The values of black and white; None where all images have 8 bits.

    Args:
        images: of any type of numbers.
        asked: values of black and white, if they are given.
        name: of the images, for errors.

    Raises:
        InputError: if values are not finite, or nothing says what black and white are.

    >>> black_and_white([torch.tensor([0.0, 0.5])], None, "mine"), black_and_white([torch.zeros(2).byte()], None, "mine")
    ((0.0, 1.0), None)
    """
    deep = [(row, image) for row, image in enumerate(images) if image.dtype != torch.uint8]
    limits = check_value_range(name, asked)
    if not deep:
        return None
    for row, image in deep:
        if not image.isfinite().all():
            raise InputError(f"{name}: images from {row} on hold NaN or infinite values; give such pixels a value")
    darkest = min(float(image.min()) for _, image in deep)
    brightest = max(float(image.max()) for _, image in deep)
    if limits is not None:
        return limits
    whole = all(bool((image == image.round()).all()) for _, image in deep)
    if darkest >= 0 and whole and brightest > 1:
        white = next((2.0**bits - 1 for bits in _BITS if brightest < 2**bits), None)
    else:
        white = next((limit for limit in (1.0, 255.0) if brightest <= limit), None)
    if darkest < 0 or white is None:
        why = "; where a transform normalizes them, leave that out" if darkest < 0 else ""
        raise InputError(
            f"{name}: images hold values from {darkest:g} to {brightest:g}, of which nothing says what black and white are; "
            f"say it with {of_data('value_range', 'BLACK', 'WHITE')}{why}"
        )
    if 1 < brightest < _DARK:
        # Just above 1 is what resizing makes of images in [0, 1].
        likely = "1" if brightest < 2 and not whole else str(math.ceil(brightest))
        warnings.warn(
            f"{name}: the largest value is {brightest:g} and white is taken to be {white:g}, so that all are nearly black; "
            f"if white is {likely}, say it with {of_data('value_range', '0', likely)}, and if not, with {white:g} in its place",
            DarkImages,
            stacklevel=5,
        )
    return 0.0, white


def to_8_bits(values: Tensor, limits: ValueRange | None) -> Tensor:
    """Pixels of values between black and white; what lies outside becomes one of them."""
    assert limits is not None
    black, white = limits
    return ((values.double() - black) * (255 / (white - black))).round().clamp(0, 255).byte()

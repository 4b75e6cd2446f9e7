"""What a source lost where its images have more than 8 bits a pixel: said in one warning."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metatc2.data.decoding import Depth, ValueRange
from metatc2.errors import InputError

_UNUSED = 4  # white this many times above the brightest pixel of a source: two bits or more are lost


class DepthLost(UserWarning):
    """Images of more than 8 bits a pixel lose much of their range; the file, the gray levels kept and the cure are named."""


def check_value_range(name: str, value_range: Sequence[float] | None) -> ValueRange | None:
    """Black and white as two numbers.

    Raises:
        InputError: if they are not two finite numbers in ascending order.

    >>> check_value_range("folder:scans", [0, 4095])
    (0.0, 4095.0)
    """
    if value_range is None:
        return None
    if len(value_range) != 2 or not all(map(math.isfinite, value_range)) or not value_range[0] < value_range[1]:
        raise InputError(
            f"{name}: value_range must be two numbers, black and then a larger white, got {list(value_range)}; 12 bits are "
            "(0, 4095)"
        )
    return float(value_range[0]), float(value_range[1])


def warn_of_depths(name: str, reader: Any, depths: NDArray[np.float64]) -> None:
    """Warn if a source's values leave much of the range unused, go beyond it, or were scaled in different ways.

    The whole source decides: a dark image among bright ones has lost nothing.

    Args:
        name: of the source.
        reader: has the attribute `files`, where files can be named.
        depths: ``(n, 7)``: row of the reader and its `Depth`, for each image of more than 8 bits.
    """
    if not len(depths):
        return
    files = getattr(reader, "files", None)

    def named(chosen: NDArray[np.bool_]) -> str:
        row = int(depths[chosen][0, 0])
        return str(files[row]) if files is not None else f"image {row}"

    black, white, darkest, brightest, levels, kept = depths[:, 1:].T
    low, high = float(darkest.min()), float(brightest.max())
    found: list[str] = []
    if len({*zip(black.tolist(), white.tolist(), strict=True)}) > 1:
        found.append(
            f"white is {_number(white.min())} in {named(white == white.min())} and {_number(white.max())} in others"
        )
    dim = (brightest - black) * _UNUSED <= white - black
    if dim.all() and (poor := (kept < levels) | (levels == 0) & (kept > 1)).any():
        worst = poor & (kept == kept[poor].max())
        told = Depth(*depths[worst][0, 1:])
        of = f" of {_number(told.levels)}" if told.levels else ""
        found.append(
            f"{named(worst)} keeps {_number(told.kept)}{of} gray levels, since {_number(told.white)} is white and no value of "
            f"the source is above {_number(high)}"
        )
    beyond = (darkest < black) | (brightest > white)
    if beyond.any():
        row = depths[beyond][0]
        found.append(
            f"values below {_number(row[1])} or above {_number(row[2])} become black or white (in {int(beyond.sum())} images, "
            f"first {named(beyond)}, which has {_number(row[3])} to {_number(row[4])})"
        )
    if found:
        cure = [min(0, round(low)), _power(high)]
        warnings.warn(
            f"{name}: {len(depths)} images have more than 8 bits a pixel: {'; '.join(found)}; say what black and white are "
            f"with --set 'data.value_range={cure}' or load(..., value_range={tuple(cure)}), or store the images with 8 bits",
            DepthLost,
            stacklevel=4,
        )


def _power(brightest: float) -> int:
    """White of the smallest number of bits that holds a value."""
    return int(2.0 ** max(1, math.ceil(math.log2(max(1.0, brightest) + 1))) - 1)


def _number(value: float) -> str:
    return f"{value:.6g}"

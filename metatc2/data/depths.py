"""What a source lost where its images have more than 8 bits a pixel: said in one warning."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from metatc2.data.decoding import BINS, Depth, ValueRange
from metatc2.data.readers import Reader, where
from metatc2.errors import InputError
from metatc2.io.suggest import of_data
from metatc2.ops.numbers import real

_UNUSED = 4  # the range this many times as wide as what a source uses of it: two bits or more are lost
_FEW = 0.005  # share of the pixels, at either end, that use no range


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
    try:
        black, white = (real(each, "value_range") for each in value_range)
    except (InputError, TypeError, ValueError):
        black = white = math.nan
    if not black < white:
        got = list(value_range) if isinstance(value_range, Sequence) else value_range
        raise InputError(
            f"{name}: value_range must be two numbers, black and then a larger white, got {got}; 12 bits are (0, 4095)"
        )
    return black, white


def warn_of_depths(name: str, reader: Reader, depths: NDArray[np.float64]) -> None:
    """Warn if a source's values leave much of the range unused, go beyond it, or were scaled in different ways.

    The whole source decides: a dark image among bright ones has lost nothing, and a few bright pixels use no range.

    Args:
        name: of the source.
        reader: of the images.
        depths: ``(n, 24)``: row of the reader and its `Depth`, for each image of more than 8 bits; see `depth_row`.
    """
    if not len(depths):
        return

    def named(chosen: NDArray[np.bool_]) -> str:
        return where(reader, int(depths[chosen][0, 0]))

    black, white, darkest, brightest, levels, kept, unreal = depths[:, 1:8].T
    used = _used(depths)
    losses: list[str] = []
    cures: list[str] = []
    if len({*zip(black.tolist(), white.tolist(), strict=True)}) > 1:
        losses.append(
            f"white is {_number(white.min())} in {named(white == white.min())} and {_number(white.max())} in others"
        )
    poor = (kept < levels) | (levels == 0)
    narrow = used.bins * _UNUSED <= BINS and bool(poor.any())
    if narrow:
        worst = poor & (kept == kept[poor].max())
        row = depths[worst][0]
        of = f" of {_number(row[5])}" if row[5] else ""
        gray = "gray level" if row[6] == 1 else "gray levels"
        losses.append(f"{named(worst)} keeps {_number(row[6])}{of} {gray}, since {used.why(row[1], row[2])}")
        if not levels[poor].all():
            cures.append("Pillow reads the upper 8 bits of colors alone, so store colors with 8 bits, scaled to them")
    # Half a gray level beyond is no loss: so far off may the shortest decimal number be.
    half = (white - black) / 510
    beyond = (darkest < black - half) | (brightest > white + half)
    if beyond.any():
        row = depths[beyond][0]
        losses.append(
            f"values below {_number(row[1])} or above {_number(row[2])} become black or white (in {int(beyond.sum())} images, "
            f"first {named(beyond)}, which has {_number(row[3])} to {_number(row[4])})"
        )
    if losses and levels.any():
        cure = used.cure(narrow)
        cures.insert(
            0,
            f"say what black and white are with {of_data('value_range', *map(str, cure))}, or store the images with 8 bits",
        )
    if (unreal > 0).any():
        losses.append(
            f"pixels that are NaN become black and infinite ones black or white (in {int((unreal > 0).sum())} images, first "
            f"{named(unreal > 0)}, which has {_number(unreal[unreal > 0][0])})"
        )
        cures.append("give such pixels a value")
    if losses:
        warnings.warn(
            f"{name}: {len(depths)} images have more than 8 bits a pixel: {'; '.join(losses)}; {'; '.join(cures)}",
            DepthLost,
            stacklevel=4,
        )


def depth_row(row: int, depth: Depth) -> tuple[float, ...]:
    """A row of the array that `warn_of_depths` takes."""
    return (row, *depth[:-1], *depth.shares)


class _Used(NamedTuple):
    """Range that all but a few pixels of a source lie in, of images that weigh alike.

    Args:
        bins: sixteenths of the range from black to white that it reaches into.
        dark: whether it begins in the first of them.
        low: its smallest value.
        high: its largest value.
        few: whether some pixels lie outside.
    """

    bins: int
    dark: bool
    low: float
    high: float
    few: bool

    def why(self, black: float, white: float) -> str:
        """Why levels were lost."""
        less = f"fewer than {_FEW:.1%} of the pixels of the source are" if self.few else "no value of the source is"
        if self.dark:
            return f"{_number(white)} is white and {less} above {_number(self.high)}"
        outside = f"below {_number(self.low)} or above {_number(self.high)}"
        return f"{_number(black)} is black, {_number(white)} is white and {less} {outside}"

    def cure(self, narrow: bool) -> tuple[float, float]:
        """Black and white that use the range: a whole number of bits from 0 on, or its ends where it begins elsewhere."""
        from_black = self.dark or not narrow
        if self.high - self.low < 2:  # fractions of 1, with two digits
            step = 10.0 ** math.floor(math.log10(max(self.high - self.low, 1e-30))) / 10
            low = min(0.0, self.low) if from_black else self.low
            return _tidy(math.floor(low / step + 1e-4) * step), _tidy(math.ceil(self.high / step - 1e-4) * step)
        if from_black:
            return min(0, round(self.low)), _power(self.high)
        return math.floor(self.low), math.ceil(self.high)


def _used(depths: NDArray[np.float64]) -> _Used:
    black, white, darkest, brightest = depths[:, 1:5].T
    below = depths[:, 8:].mean(0).cumsum()
    first = int((below <= _FEW).sum())
    last = max(first, int((below < below[-1] - _FEW).sum()))
    lows, highs = (
        np.clip(np.floor((value - black) / (white - black) * BINS), 0, BINS - 1) for value in (darkest, brightest)
    )
    # Where every image has a few pixels outside, the end of the last sixteenth is all that is known.
    width = (white - black) / BINS
    high = brightest[highs <= last].max() if (highs <= last).any() else np.floor((black + (last + 1) * width).max())
    low = darkest[lows >= first].min() if (lows >= first).any() else np.ceil((black + first * width).min())
    few = bool((highs > last).any() or (lows < first).any())
    return _Used(last - first + 1, first == 0, float(low), float(max(low, high)), few)


def _power(brightest: float) -> int:
    """White of the smallest number of bits that holds a value."""
    return int(2.0 ** max(1, math.ceil(math.log2(max(1.0, brightest) + 1))) - 1)


def _number(value: float) -> str:
    return f"{value:.6g}"


def _tidy(value: float) -> float:
    return float(f"{value:.6g}")

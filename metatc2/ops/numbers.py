"""Numbers that a person gives: whole ones and real ones, of Python, NumPy or torch, within their limits."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le

from metatc2.errors import InputError

# Hints of constructors: a configuration reads from them what a key accepts, and documentation shows it.
Positive = Annotated[float, Gt(0)]
NotNegative = Annotated[float, Ge(0)]
Fraction = Annotated[float, Ge(0), Le(1)]
PositiveCount = Annotated[int, Ge(1)]
NotNegativeCount = Annotated[int, Ge(0)]


def whole(value: Any, name: str, least: int | None = None, *, fix: str = "") -> int:
    """A whole number of any integer type as Python's.

    Args:
        value: what was given; True and False are no numbers, and neither is 5.0.
        name: what errors call it, with its place, e.g. ``"k-NN: k"``.
        least: the smallest that is allowed.
        fix: end of the sentence, if there is more to say.

    Raises:
        InputError: if it is no whole number, or is too small.

    >>> import numpy as np
    >>> whole(np.int64(5), "k-NN: k", 1)
    5
    >>> whole(5.5, "k-NN: k", 1)
    Traceback (most recent call last):
    metatc2.errors.InputError: k-NN: k must be a whole number, at least 1, got 5.5
    """
    try:
        number = None if _is_bool(value) else operator.index(value)
    except TypeError:
        number = None
    if number is None:
        limit = "" if least is None else f", at least {least}"
        raise InputError(f"{name} must be a whole number{limit}, got {_told(value)}{fix}")
    if least is not None and number < least:
        raise InputError(f"{name} must be at least {least}, got {number}{fix}")
    return number


def real(
    value: Any,
    name: str,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    fix: str = "",
) -> float:
    """A finite number of any real type as Python's float.

    Args:
        value: what was given; True and False are no numbers.
        name: see `whole`.
        least: the smallest that is allowed.
        above: what it must be larger than.
        most: the largest that is allowed.
        below: what it must be smaller than.
        fix: see `whole`.

    Raises:
        InputError: if it is no number, is NaN or infinite, or lies outside its limits.

    >>> real(float("inf"), "linear: l2", above=0)
    Traceback (most recent call last):
    metatc2.errors.InputError: linear: l2 must be a finite number above 0, got inf
    """
    try:
        number = math.nan if _is_bool(value) or isinstance(value, str | bytes) else float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        number = math.nan
    inside = (
        math.isfinite(number)
        and (least is None or number >= least)
        and (above is None or number > above)
        and (most is None or number <= most)
        and (below is None or number < below)
    )
    if not inside:
        words = (("at least", least), ("above", above), ("at most", most), ("below", below))
        limits = " and ".join(f"{word} {limit:g}" for word, limit in words if limit is not None)
        raise InputError(f"{name} must be a finite number{limits and ' ' + limits}, got {_told(value)}{fix}")
    return number


def wholes(values: Any, name: str, least: int, *, fix: str = "") -> tuple[int, ...]:
    """Several whole numbers, at least one; see `whole`.

    >>> wholes(range(1, 4), "ways", 1)
    (1, 2, 3)
    """
    return tuple(whole(value, f"each of {name}", least, fix=fix) for value in several(values, name))


def reals(values: Any, name: str, *, fix: str = "", **limits: float) -> tuple[float, ...]:
    """Several finite numbers, at least one; see `real`.

    >>> reals((1.0, 10), "rates", above=0)
    (1.0, 10.0)
    """
    return tuple(real(value, f"each of {name}", fix=fix, **limits) for value in several(values, name))


def several(values: Any, name: str) -> list[Any]:
    """What a person gives as a list, at least one thing; errors call it by its name.

    Raises:
        InputError: if it is no list, or empty.
    """
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise InputError(f"{name} must be a list of numbers, got {_told(values)}")
    try:
        numbers = list(values)
    except TypeError as error:  # an array or tensor without an axis is called iterable, and is not
        raise InputError(f"{name} must be a list of numbers, got {_told(values)}") from error
    if not numbers:
        raise InputError(f"{name} must be at least one number, got none")
    return numbers


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool) or str(getattr(value, "dtype", "")) in ("bool", "torch.bool")


def _told(value: Any) -> str:
    try:
        return str(value.item())
    except Exception:  # no scalar of NumPy or torch
        return repr(value) if len(repr(value)) < 80 else type(value).__name__

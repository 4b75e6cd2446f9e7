"""Checks of what is given to `Views`, with sentences that say what to change."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from metatc2.augment.descriptor import DESCRIPTOR, DESCRIPTOR_SIZE
from metatc2.errors import InputError


def check_number(name: str, value: object, low: float, high: float, *, below: bool = False) -> None:
    """A finite number from `low` to `high` (excluded if `below`).

    Raises:
        InputError: naming the field, the value and the range.
    """
    limits = f"from {low:g} on" if high == math.inf else f"from {low:g} to {'below ' if below else ''}{high:g}"
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or not low <= value <= high or (below and value == high):  # type: ignore[operator]
        raise InputError(f"Views.{name}: expected a number {limits}, got {value!r}")


def check_range(name: str, value: object, high: float) -> tuple[float, float]:
    """Two numbers, smallest first, above 0 and at most `high`.

    Raises:
        InputError: naming the field, the value and the range.
    """
    pair = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else ()
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in pair)
    if len(pair) != 2 or not numbers or not 0 < pair[0] <= pair[1] <= high:
        limit = "" if high == math.inf else f" and at most {high:g}"
        raise InputError(f"Views.{name}: expected two numbers (smallest, largest) above 0{limit}, got {value!r}")
    return float(pair[0]), float(pair[1])


def check_shape(images: Tensor) -> None:
    """A batch of images is ``(N, C, H, W)``.

    Raises:
        InputError: with the shape that was given.
    """
    last = images.ndim == 4 and images.shape[1] not in (1, 3) and images.shape[3] in (1, 3)
    if images.ndim != 4 or 0 in images.shape[1:] or last:
        hint = "; their channels seem to be the last axis: images.permute(0, 3, 1, 2)" if last else ""
        raise InputError(f"Views: images must have shape (N, C, H, W), got {tuple(images.shape)}{hint}")


def check_images(images: Tensor) -> Tensor:
    """Images as a new float32 tensor in [0, 1], ``(N, C, H, W)``.

    Raises:
        InputError: if shape, dtype or range do not fit.
    """
    check_shape(images)
    if images.dtype == torch.uint8:
        return images.float().div_(255)
    if not images.is_floating_point():
        raise InputError(f"Views: images must be uint8, or float in [0, 1], got {images.dtype}; convert with .byte()")
    if images.numel():
        low, high = images.aminmax()
        if not (low >= 0 and high <= 1):
            raise InputError(
                f"Views: float images must lie in [0, 1], got values from {float(low):g} to {float(high):g}; "
                "divide by 255 or give uint8"
            )
    return images.to(torch.float32, copy=True, memory_format=torch.contiguous_format)


def check_descriptors(descriptors: Tensor, count: int) -> Tensor:
    """Descriptors of `count` images as float64 on the CPU.

    Raises:
        InputError: if the shape does not fit, or values are not finite, or a window is empty.
    """
    if descriptors.shape != (count, DESCRIPTOR_SIZE) or not descriptors.is_floating_point():
        raise InputError(
            f"Views.apply: descriptors of {count} images must be float of shape ({count}, {DESCRIPTOR_SIZE}), got "
            f"{descriptors.dtype} {tuple(descriptors.shape)}; one row an image, as Views.sample gives"
        )
    parameters = descriptors.detach().cpu().double()
    usable = parameters.isfinite().all(1) & (parameters[:, DESCRIPTOR["crop"]][:, 2:] > 0).all(1)
    if not usable.all():
        row = int((~usable).nonzero()[0])
        raise InputError(
            f"Views.apply: descriptor {row} has a value that is not finite or a window without height or width; "
            "take descriptors from Views.sample"
        )
    return parameters

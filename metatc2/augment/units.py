"""Descriptors that different recipes drew, in the units of one recipe."""

from __future__ import annotations

import torch
from torch import Tensor

from metatc2.augment.descriptor import DESCRIPTOR, DESCRIPTOR_SIZE
from metatc2.augment.views import Views
from metatc2.errors import InputError


def in_units_of(common: Views, own: Views, descriptors: Tensor) -> Tensor:
    """The same operations, told as shares of another recipe's ranges.

    A descriptor tells the jitter, rotation and shear as shares of its recipe's ranges. In common units, descriptors can be
    compared across recipes, and ``common.apply`` makes all their views at once.

    Args:
        common: the recipe whose units they get; its ranges may be larger.
        own: the recipe that drew them.
        descriptors: float ``(..., P)``.

    Raises:
        InputError: if `own` varies something that `common` has no range for.

    >>> weak, strong = Views(rotation=10), Views(rotation=40)
    >>> drawn = weak.sample(3, torch.Generator().manual_seed(0))
    >>> bool((in_units_of(strong, weak, drawn)[:, DESCRIPTOR["rotation"]] == drawn[:, DESCRIPTOR["rotation"]] / 4).all())
    True
    """
    factor = torch.ones(DESCRIPTOR_SIZE, dtype=descriptors.dtype, device=descriptors.device)
    ranges = {
        "color": ("brightness", "contrast", "saturation", "hue"),
        "rotation": ("rotation",),
        "shear": ("shear",) * 2,
    }
    for part, names in ranges.items():
        factor[DESCRIPTOR[part]] = factor.new_tensor([_share(name, common, own) for name in names])
    return descriptors * factor


def _share(name: str, common: Views, own: Views) -> float:
    range_own, range_common = float(getattr(own, name)), float(getattr(common, name))
    if range_own and not range_common:
        raise InputError(
            f"in_units_of: {name} is {range_own:g} in one recipe and 0 in the common one; give it a range there"
        )
    return range_own / range_common if range_common else 1.0

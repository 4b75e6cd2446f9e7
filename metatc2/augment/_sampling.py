"""From uniform random numbers to descriptors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from metatc2.augment.descriptor import DESCRIPTOR, DESCRIPTOR_SIZE

if TYPE_CHECKING:
    from metatc2.augment.views import Views


def draw(recipe: Views, count: int, generator: torch.Generator) -> Tensor:
    """Descriptors ``(count, P)``; every row uses the same 18 uniform numbers, whether its operations are on or off."""
    u = torch.rand(count, 18, generator=generator, device=generator.device)
    parts = {
        "blur": torch.where(u[:, :1] < recipe.blur, _between(u[:, 1:2], *recipe.blur_sigma), 0.0),
        "color": torch.where(u[:, 2:3] < recipe.jitter, _factors(recipe, u[:, 3:7]), 0.0),
        "crop": _windows(recipe, u[:, 7:11]),
        "flip": u[:, 11:12] < recipe.flip,
        "grayscale": u[:, 12:13] < recipe.grayscale,
        "invert": u[:, 13:14] < recipe.invert,
        "rotation": _between(u[:, 14:15], -1, 1) * (recipe.rotation > 0),
        "shear": _between(u[:, 15:17], -1, 1) * (recipe.shear > 0),
        "solarize": u[:, 17:18] < recipe.solarize,
    }
    descriptors = u.new_zeros(count, DESCRIPTOR_SIZE)
    for name, values in parts.items():
        descriptors[:, DESCRIPTOR[name]] = values.to(u.dtype)
    return descriptors


def _between(u: Tensor, low: float, high: float) -> Tensor:
    return low + (high - low) * u


def _factors(recipe: Views, u: Tensor) -> Tensor:
    """(factor − 1) / range, uniform, with factors from 0 on; hue / range; 0 where the range is 0."""
    columns = []
    for column, width in zip(u.unbind(1), (recipe.brightness, recipe.contrast, recipe.saturation), strict=False):
        columns.append(_between(column, -min(1.0, 1 / width), 1.0) if width else torch.zeros_like(column))
    columns.append(_between(u[:, 3], -1.0, 1.0) * (recipe.hue > 0))
    return torch.stack(columns, 1)


def _windows(recipe: Views, u: Tensor) -> Tensor:
    """Center y, center x, height, width ``(count, 4)`` of windows that lie within the image."""
    area = _between(u[:, 0], *recipe.crop_scale)
    # A window of this area fits into the unit square at ratios between area and 1 / area.
    lowest, highest = (torch.full_like(area, r).clamp(area, 1 / area).log() for r in recipe.crop_ratio)
    ratio = (lowest + (highest - lowest) * u[:, 1]).exp()
    height, width = (area / ratio).sqrt().clamp(max=1), (area * ratio).sqrt().clamp(max=1)
    center_y = 0.5 + (u[:, 2] - 0.5) * (1 - height)
    center_x = 0.5 + (u[:, 3] - 0.5) * (1 - width)
    return torch.stack([center_y, center_x, height, width], 1)

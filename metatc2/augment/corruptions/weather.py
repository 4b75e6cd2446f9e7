"""Fog and daylight."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from metatc2.augment.corruptions._random import uniform


def fog(images: Tensor, seeds: Sequence[int], density: float, decay: float) -> Tensor:
    """Lay a cloud over the image and darken both until the brightest value is what it was.

    The cloud is a sum of octaves of noise, bilinear between the knots of ever finer grids, each octave weaker by `decay`,
    brought to [0, 1]. (The published one is made by the diamond-square algorithm, whose octaves are the same.)
    """
    height, width = images.shape[2:]
    knots = [2**octave + 1 for octave in range(1, math.ceil(math.log2(max(height, width))) + 1)]
    numbers = 2 * uniform(seeds, (sum(n * n for n in knots),)) - 1
    cloud = torch.zeros(len(images), 1, height, width)
    for octave, (n, values) in enumerate(zip(knots, numbers.split([n * n for n in knots], 1), strict=True)):
        grid = values.view(-1, 1, n, n) / decay**octave
        cloud = cloud + F.interpolate(grid, (height, width), mode="bilinear", align_corners=True)
    low, high = cloud.amin((1, 2, 3), keepdim=True), cloud.amax((1, 2, 3), keepdim=True)
    brightest = images.amax((1, 2, 3), keepdim=True)
    return (images + density * (cloud - low) / (high - low)) * brightest / (brightest + density)


def brightness(images: Tensor, seeds: Sequence[int], more: float) -> Tensor:
    """Raise the value of each pixel (the V of HSV) by `more`, at most to 1; hue and saturation stay."""
    del seeds
    value = images.amax(1, keepdim=True)
    raised = (value + more).clamp(max=1)
    # Black has neither hue nor saturation and becomes gray.
    return torch.where(value > 0, images * (raised / value.clamp(min=1e-12)), raised)

"""Noise of the camera: each value of each channel by itself."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from metatc2.augment.corruptions._random import each, normal, uniform


def gaussian_noise(images: Tensor, seeds: Sequence[int], deviation: float) -> Tensor:
    """Add normal noise, as in a dark room."""
    return images + deviation * normal(seeds, images.shape[1:])


def shot_noise(images: Tensor, seeds: Sequence[int], photons: float) -> Tensor:
    """Count photons: Poisson, `photons` of them being white."""
    return each(seeds, lambda i, generator: torch.poisson(images[i] * photons, generator=generator)) / photons


def impulse_noise(images: Tensor, seeds: Sequence[int], share: float) -> Tensor:
    """Salt and pepper: a share of the values becomes 0 or 1, half of it each."""
    chance = uniform(seeds, images.shape[1:])
    return torch.where(chance < share / 2, 0.0, torch.where(chance >= 1 - share / 2, 1.0, images))


def speckle_noise(images: Tensor, seeds: Sequence[int], deviation: float) -> Tensor:
    """Add normal noise in proportion to the value."""
    return images + images * deviation * normal(seeds, images.shape[1:])

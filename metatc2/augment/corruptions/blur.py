"""Blur: out of focus, moved while exposed, moved toward the scene, and Gaussian."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn import functional as F

from metatc2.augment.corruptions._random import uniform

_ZOOMS = 11
_LARGEST_ANGLE = 45.0


def gaussian_blur(images: Tensor, seeds: Sequence[int], sigma: float) -> Tensor:
    """Gaussian blur that reaches four σ; the border pixel goes on outside."""
    del seeds
    return torch.from_numpy(gaussian_filter(images.numpy(), (0, 0, sigma, sigma), mode="nearest", truncate=4))


def defocus_blur(images: Tensor, seeds: Sequence[int], radius: float) -> Tensor:
    """The mean over a disc, whose edge falls off over one pixel; the image is mirrored at its border."""
    del seeds
    reach = min(math.ceil(radius + 0.5) - 1, *(side - 1 for side in images.shape[2:]))
    offset = torch.arange(-reach, reach + 1, dtype=torch.float32)
    disc = (radius + 0.5 - torch.hypot(offset[:, None], offset)).clamp(0, 1)
    planes = F.pad(images, (reach,) * 4, mode="reflect").flatten(0, 1)[:, None]
    return F.conv2d(planes, (disc / disc.sum())[None, None])[:, 0].view_as(images)


def motion_blur(images: Tensor, seeds: Sequence[int], radius: float, sigma: float) -> Tensor:
    """A trail to one side: half a Gaussian of width σ along a direction within 45° of the horizontal, drawn an image.

    The trail has at most ``2 · radius + 1`` pixels, and ends at four σ. The border pixel goes on outside.
    """
    angle = (2 * uniform(seeds, ()) - 1).mul(_LARGEST_ANGLE).deg2rad()
    taps = torch.arange(min(2 * math.ceil(radius), math.ceil(4 * sigma)) + 1, dtype=torch.float32)
    weights = (-0.5 * (taps / sigma) ** 2).exp()
    total = torch.zeros_like(images)
    for tap, weight in zip(taps.tolist(), (weights / weights.sum()).tolist(), strict=True):
        total = total + weight * _moved(images, tap * angle.sin(), tap * angle.cos())
    return total


def zoom_blur(images: Tensor, seeds: Sequence[int], more: float) -> Tensor:
    """The mean of the image and of itself enlarged about its center, by up to ``1 + more`` in equal steps."""
    del seeds
    total = torch.zeros_like(images)
    for zoom in torch.linspace(1, 1 + more, _ZOOMS).tolist():
        turn = torch.tensor([[1 / zoom, 0, 0], [0, 1 / zoom, 0]]).expand(len(images), 2, 3)
        grid = F.affine_grid(turn, list(images.shape), align_corners=False)
        total = total + F.grid_sample(images, grid, padding_mode="border", align_corners=False) / _ZOOMS
    return total


def _moved(images: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Every image moved by its own number of pixels, bilinearly."""
    height, width = images.shape[2:]
    still = torch.eye(2).expand(len(images), 2, 2)
    offset = torch.stack([-2 * right / width, -2 * down / height], 1)[..., None]
    grid = F.affine_grid(torch.cat([still, offset], 2), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)

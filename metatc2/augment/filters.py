"""Blur, solarization and inversion of float images ``(N, C, H, W)`` in [0, 1]."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def blur_radius(largest_sigma: float, size: int) -> int:
    """Reach of the kernels in pixels: three σ, less where reflection at the border leaves no room.

    >>> blur_radius(1.0, 32), blur_radius(2.0, 4)
    (3, 3)
    """
    return min(math.ceil(3 * largest_sigma), size - 1)


def gaussian_kernels(sigma: Tensor, radius: int) -> Tensor:
    """One normalized kernel a σ, center first: weights at distance 0 … radius, ``(N, radius + 1)``, float64."""
    distance = torch.arange(radius + 1, dtype=torch.float64)
    weights = (-0.5 * (distance / sigma.double().clamp(min=1e-6)[:, None]) ** 2).exp()
    return weights / (2 * weights.sum(1, keepdim=True) - 1)


def blur(images: Tensor, kernels: Tensor) -> Tensor:
    """Separable blur with a kernel an image, the image reflected at its border.

    Shifted sums rather than a grouped convolution: the convolution is faster on a CPU, but its rounding may change with
    the number of images, and a descriptor would no longer reproduce a view to the bit.

    Args:
        images: ``(N, C, H, W)``.
        kernels: ``(N, radius + 1)`` on the CPU, see `gaussian_kernels`.
    """
    for dim in (2, 3):
        images = _blur_along(images, kernels, dim)
    return images.clamp_(0, 1)


def _blur_along(images: Tensor, kernels: Tensor, dim: int) -> Tensor:
    radius, length = kernels.shape[1] - 1, images.shape[dim]
    padding = (radius, radius, 0, 0) if dim == 3 else (0, 0, radius, radius)
    padded = F.pad(images, padding, mode="reflect")
    weights = kernels.to(images)[:, :, None, None, None].unbind(1)
    total = images * weights[0]
    pair = torch.empty_like(images)
    for distance in range(1, radius + 1):
        before = padded.narrow(dim, radius - distance, length)
        after = padded.narrow(dim, radius + distance, length)
        torch.add(before, after, out=pair)
        total.add_(pair.mul_(weights[distance]))
    return total


def solarize(images: Tensor, threshold: float) -> Tensor:
    """Invert the pixels from `threshold` on."""
    return torch.where(images >= threshold, 1 - images, images)


def invert(images: Tensor) -> Tensor:
    """Invert the intensities, ``1 − x``."""
    return 1 - images

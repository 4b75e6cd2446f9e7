"""Sizes and colours: bring any images to the square uint8 tensors of a store."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

# ITU-R BT.601, what Pillow and torchvision use.
_LUMA = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
_CHUNK = 4096


def resize_square(images: Tensor, size: int) -> Tensor:
    """Shorter side to `size`, antialiased, then the centre.

    Args:
        images: uint8 ``(N, C, H, W)``.
        size: side of the result in pixels.

    >>> resize_square(torch.zeros(2, 3, 10, 20, dtype=torch.uint8), 8).shape
    torch.Size([2, 3, 8, 8])
    """
    height, width = images.shape[-2:]
    short = min(height, width)
    if short != size:
        shape = (max(size, round(height * size / short)), max(size, round(width * size / short)))
        parts = [
            interpolate(part.float(), size=shape, mode="bilinear", antialias=True).round().clamp(0, 255).byte()
            for part in images.split(_CHUNK)
        ]
        images = torch.cat(parts) if parts else images
        height, width = shape
    top, left = (height - size) // 2, (width - size) // 2
    return images[..., top : top + size, left : left + size].contiguous()


def to_channels(images: Tensor, channels: int) -> Tensor:
    """Colour to grey by luma weights, grey to colour by repetition.

    Args:
        images: uint8 ``(N, 1 or 3, H, W)``.
        channels: 1 or 3.

    >>> to_channels(torch.full((1, 3, 2, 2), 200, dtype=torch.uint8), 1).unique().tolist()
    [200]
    """
    if images.shape[1] == channels:
        return images
    if channels == 3:
        return images.expand(-1, 3, -1, -1).contiguous()
    parts = [(part.float() * _LUMA).sum(1, keepdim=True).round().byte() for part in images.split(_CHUNK)]
    return torch.cat(parts) if parts else images[:, :1]

"""Sizes, depths and colours: bring any image to the square uint8 tensors of a store."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

# ITU-R BT.601, what Pillow and torchvision use.
_LUMA = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
_CHUNK = 1 << 25  # numbers that are held as floats at a time: 128 MiB, whatever the size of an image


def resize_square(images: Tensor, size: int) -> Tensor:
    """Shorter side to `size` (bilinear, antialiased), then the centre, as torchvision's ``Resize`` and ``CenterCrop``.

    Args:
        images: uint8 ``(N, C, H, W)``.
        size: side of the result in pixels.

    >>> resize_square(torch.zeros(2, 3, 10, 20, dtype=torch.uint8), 8).shape
    torch.Size([2, 3, 8, 8])
    """
    height, width = images.shape[-2:]
    short = min(height, width)
    if short != size:
        height, width = int(size * height / short), int(size * width / short)
        parts = [
            interpolate(part.float(), size=(height, width), mode="bilinear", antialias=True)
            .round()
            .clamp(0, 255)
            .byte()
            for part in _chunks(images)
        ]
        images = torch.cat(parts)
    top, left = round((height - size) / 2), round((width - size) / 2)
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
    return torch.cat([(part.float() * _LUMA).sum(1, keepdim=True).round().byte() for part in _chunks(images)])


def _chunks(images: Tensor) -> Sequence[Tensor]:
    return torch.split(images, max(1, _CHUNK // max(1, images[:1].numel())))


def join(batches: Sequence[Tensor]) -> Tensor:
    """Batches of one size as one batch: grey if all are grey, else colour.

    Args:
        batches: at least one, each uint8 ``(N, 1 or 3, H, W)``.

    >>> join([torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.zeros(1, 3, 4, 4, dtype=torch.uint8)]).shape
    torch.Size([3, 3, 4, 4])
    """
    channels = max(batch.shape[1] for batch in batches)
    return torch.cat([to_channels(batch, channels) for batch in batches])


def from_pillow(image: Image.Image) -> Tensor:
    """An image of any mode as uint8 ``(1 or 3, H, W)``.

    Transparency is laid on white. 16 bits a pixel are scaled to 8; 32-bit integers and floats do not say where white is,
    so the smallest of 1 (floats only), 255 and 65535 that holds the brightest pixel is taken.

    Raises:
        OSError: or another of Pillow's errors, if the image cannot be read to its end.

    >>> from_pillow(Image.new("RGBA", (5, 4))).shape
    torch.Size([3, 4, 5])
    """
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        # Pillow's own conversion would clip at 255.
        values = np.nan_to_num(np.asarray(image, dtype=np.float64))
        whites = {"I": (255.0, 65535.0), "F": (1.0, 255.0, 65535.0)}.get(image.mode, (65535.0,))
        white = next((w for w in whites if values.max() <= w), 65535.0)
        array = (values * (255 / white)).round().clip(0, 255).astype(np.uint8)
    else:
        mode = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        array = np.array(image.convert(mode))
    pixels = torch.from_numpy(array)
    return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)

"""Sizes and colors: bring any images to the square uint8 tensors of a store."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from metatc2.errors import InputError

#: Shares of red, green and blue in gray values: ITU-R BT.601, what Pillow and torchvision use.
LUMA = (0.299, 0.587, 0.114)
_LUMA = torch.tensor(LUMA).view(1, 3, 1, 1)
_CHUNK = 1 << 25  # numbers that are held as floats at a time: 128 MiB, whatever the size of an image
_LONG = 8  # times the shorter side: of longer images only the center is resized


def resize_square(images: Tensor, size: int) -> Tensor:
    """Shorter side to `size` (bilinear, antialiased), then the center, as torchvision's ``Resize`` and ``CenterCrop``.

    What the crop would take away is not computed where images are long, and a large image is resized in bands of rows, so
    memory is bounded by the images themselves and by `size`, whatever their shape.

    Args:
        images: uint8 ``(N, C, H, W)``.
        size: side of the result in pixels.

    >>> resize_square(torch.zeros(2, 3, 10, 20, dtype=torch.uint8), 8).shape
    torch.Size([2, 3, 8, 8])
    >>> resize_square(torch.zeros(1, 1, 1, 10**6, dtype=torch.uint8), 8).shape
    torch.Size([1, 1, 8, 8])
    """
    height, width = images.shape[-2:]
    short = min(height, width)
    if short != size:
        if max(height, width) > _LONG * short:
            parts = [_center_of_long(part, size) for part in _chunks(images)]
        else:
            shape = int(size * height / short), int(size * width / short)
            parts = [_resized(part, shape) for part in _chunks(images)]
        images = torch.cat([part.round().clamp(0, 255).byte() for part in parts])
    return _center(images, size)


def share_cut(height: int, width: int) -> float:
    """Share of an image that lies outside the square in its middle.

    >>> share_cut(30, 40), share_cut(8, 8)
    (0.25, 0.0)
    """
    return 1 - min(height, width) / max(height, width)


def resize_square_values(images: Tensor, size: int) -> Tensor:
    """As `resize_square`, of values that are no pixels yet: float ``(N, C, H, W)``, which are averaged and not rounded."""
    height, width = images.shape[-2:]
    short = min(height, width)
    if short != size:
        images = _interpolated(images, (int(size * height / short), int(size * width / short)))
    return _center(images, size)


def _center(images: Tensor, size: int) -> Tensor:
    height, width = images.shape[-2:]
    top, left = round((height - size) / 2), round((width - size) / 2)
    return images[..., top : top + size, left : left + size].contiguous()


def _resized(images: Tensor, shape: tuple[int, int]) -> Tensor:
    """Float images of another shape: columns first, in bands of rows, then rows; the bits are those of doing all at once."""
    each = max(1, _CHUNK // max(1, images[..., :1, :].numel()))
    bands = torch.split(images, each, dim=2)
    if len(bands) > 1:
        images = torch.cat([_interpolated(band.float(), (band.shape[2], shape[1])) for band in bands], 2)
    return _interpolated(images.float(), shape)


def _interpolated(images: Tensor, shape: tuple[int, int]) -> Tensor:
    return interpolate(images, size=shape, mode="bilinear", antialias=True)


def _center_of_long(images: Tensor, size: int) -> Tensor:
    """The center alone, float ``(N, C, size, size)``, of images whose other side is many times as long."""
    height, width = images.shape[-2:]
    if height > width:
        return _center_of_long(images.transpose(2, 3), size).transpose(2, 3)
    length = int(size * width / height)
    start, weights = _weights(width, length, round((length - size) / 2), size)
    columns = images[..., start : start + weights.shape[1]].float() @ weights.T
    return _interpolated(columns, (size, size))


def _weights(source: int, length: int, first: int, count: int) -> tuple[int, Tensor]:
    """Where `count` pixels of a line resized from `source` to `length`, from `first` on, come from.

    Returns:
        The first source pixel, and the weights ``(count, source pixels)``: the triangle filter of `interpolate`.
    """
    scale = source / length
    reach = max(scale, 1.0)
    centers = (torch.arange(first, first + count, dtype=torch.float64) + 0.5) * scale
    start = max(0, int(centers[0] - reach - 1))
    pixels = torch.arange(start, min(source, int(centers[-1] + reach + 2)), dtype=torch.float64) + 0.5
    weights = (1 - (pixels - centers[:, None]).abs() / reach).clamp(min=0)
    return start, (weights / weights.sum(1, keepdim=True)).float()


def to_channels(images: Tensor, channels: int) -> Tensor:
    """Color to gray by luma weights, other channels to gray by their mean, gray to any number by repetition.

    Args:
        images: uint8 ``(N, C, H, W)``.
        channels: of the result.

    Raises:
        InputError: if there are several channels and several others are asked for: nothing says which.

    >>> to_channels(torch.full((1, 3, 2, 2), 200, dtype=torch.uint8), 1).unique().tolist()
    [200]
    """
    if images.shape[1] == channels:
        return images
    if images.shape[1] == 1:
        return images.expand(-1, channels, -1, -1).contiguous()
    if channels != 1:
        raise InputError(
            f"images have {images.shape[1]} channels and {channels} were asked for; choose channels in the data, or an encoder "
            f"of {images.shape[1]} (data.channels, --channels)"
        )
    weights = _LUMA if images.shape[1] == 3 else torch.full((1, images.shape[1], 1, 1), 1 / images.shape[1])
    return torch.cat([(part.float() * weights).sum(1, keepdim=True).round().byte() for part in _chunks(images)])


def _chunks(images: Tensor) -> Sequence[Tensor]:
    return torch.split(images, max(1, _CHUNK // max(1, images[:1].numel())))


def join(batches: Sequence[Tensor]) -> Tensor:
    """Batches of one size as one batch: gray if all are gray, else color.

    Args:
        batches: at least one, each uint8 ``(N, 1 or 3, H, W)``.

    >>> join([torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.zeros(1, 3, 4, 4, dtype=torch.uint8)]).shape
    torch.Size([3, 3, 4, 4])
    """
    channels = max(batch.shape[1] for batch in batches)
    return torch.cat([to_channels(batch, channels) for batch in batches])

"""Color operations with one factor an image. Plain elementwise arithmetic, so a row never depends on its neighbors.

All functions take and return float images ``(N, C, H, W)`` in [0, 1] with any C, and factors ``(N,)`` on the CPU.
They may write into the images they are given. Definitions are those of torchvision's functional kernels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from metatc2.augment._change_rows import change_rows


def jitter(images: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor, hue: Tensor) -> Tensor:
    """Brightness, contrast, saturation and hue, in this order; the last two change images of three channels alone."""
    images = images.mul_(_column(images, brightness)).clamp_(0, 1)
    images = _blend(images, mean_of(luma(images)), contrast)
    if images.shape[1] != 3:
        return images
    images = _blend(images, luma(images), saturation)
    # Hue 0 must be the identity to the bit, and the way over hue angles rounds.
    return change_rows(images, hue != 0, shift_hue, hue)


def luma(images: Tensor) -> Tensor:
    """Brightness of every pixel (ITU-R 601; the mean of channels that are not three), ``(N, 1, H, W)``."""
    if images.shape[1] == 1:
        return images
    if images.shape[1] != 3:
        return torch.stack(images.unbind(1)).sum(0)[:, None] / images.shape[1]
    red, green, blue = images.unbind(1)
    total: Tensor = (red * 0.2989).add_(green * 0.587).add_(blue * 0.114)
    return total[:, None]


def drop_color(images: Tensor) -> Tensor:
    """The same luma in every channel."""
    return images.copy_(luma(images))


def mean_of(images: Tensor) -> Tensor:
    """Mean over the pixels of each channel, ``(N, C, 1, 1)``.

    Halves are added to halves: only elementwise sums, whose order is fixed. The order inside ``Tensor.mean`` is not: it
    depends on the number of rows and of threads.
    """
    total = images.flatten(2)
    count = total.shape[2]
    while (length := total.shape[2]) > 1:
        half = length // 2
        paired = total[..., :half] + total[..., half : 2 * half]
        total = torch.cat([paired, total[..., 2 * half :]], dim=2) if length % 2 else paired
    return (total / count).unsqueeze(3)


def shift_hue(images: Tensor, shift: Tensor) -> Tensor:
    """Turn the hue of color images by `shift` (1 is a full turn), with value and saturation kept.

    The six-case table of HSV in one line: with m the lowest channel, c the chroma and d the distance around the circle,
    in turns, from the pixel's hue to the opposite of the channel's own (cyan, magenta, yellow), a channel is
    m + c·clip(6 d − 1, 0, 1).
    """
    red, green, blue = images.unbind(1)
    value = torch.maximum(torch.maximum(red, green), blue)
    low = torch.minimum(torch.minimum(red, green), blue)
    chroma = value - low
    # Which channel is highest, as three floats of 0 and 1: several times faster here than torch.where, and as exact.
    not_red = torch.ne(value, red, out=torch.empty_like(value))
    is_blue = torch.ne(value, green, out=torch.empty_like(value)).mul_(not_red)
    is_green = not_red - is_blue
    rise = ((green - blue).mul_(1 - not_red)).add_((blue - red).mul_(is_green)).add_((red - green).mul_(is_blue))
    start = (is_green * (1 / 3)).add_(is_blue.mul_(2 / 3)).add_(_column(images, shift)[..., 0])
    hue = rise.div_((chroma * 6).clamp_(min=1e-12)).add_(start)
    opposite = images.new_tensor([1 / 2, 5 / 6, 1 / 6])[:, None, None]
    turn = hue[:, None] - opposite
    distance = turn.sub_(turn.round()).abs_()
    return distance.mul_(6).sub_(1).clamp_(0, 1).mul_(chroma[:, None]).add_(low[:, None])


def _blend(images: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    return images.mul_(_column(images, factor)).add_(other * _column(images, 1 - factor)).clamp_(0, 1)


def _column(images: Tensor, factor: Tensor) -> Tensor:
    return factor.to(images)[:, None, None, None]

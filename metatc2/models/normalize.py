"""The first layer of every encoder: images in [0, 1] to a common scale."""

from __future__ import annotations

from torch import Tensor, nn

from metatc2.errors import InputError


class Normalize(nn.Module):
    """``(x − 0.5) / 0.25``: the same constants for every data set, so that an encoder carries nothing of its source.

    Raises:
        InputError: when the images are not floating point.

    >>> import torch
    >>> Normalize()(torch.tensor([0.0, 0.5, 1.0])).tolist()
    [-2.0, 0.0, 2.0]
    """

    def forward(self, images: Tensor) -> Tensor:
        """Images in [0, 1] to [−2, 2]."""
        if not images.is_floating_point():
            raise InputError(f"images must be float in [0, 1], found {images.dtype}; divide uint8 images by 255")
        return (images - 0.5) / 0.25

"""Checksums of single images that neither size nor channels of a store change: taken of the pixels before resizing."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metatc2.data.image_io import to_channels

Digests = NDArray[np.uint64]

# Of larger images each k-th pixel of each k-th row is taken, so that a photograph costs no more than a thumbnail.
_SIDE = 64
_CHUNK = 1 << 23  # bytes of images that are looked at together


def no_digests(count: int = 0) -> Digests:
    """Digests of images that nothing is known of."""
    return np.zeros(count, dtype=np.uint64)


def gray_digests(images: Tensor) -> Digests:
    """64 bits of BLAKE2b of shape and luma of each image; 0 for an image of one gray level, which may be anything.

    A gray image has the digest that it has when it is repeated in three channels, and a color one that of its luma.

    Args:
        images: uint8 ``(N, 1 or 3, H, W)``.

    >>> images = torch.arange(12, dtype=torch.uint8).view(3, 1, 2, 2)
    >>> gray, color = gray_digests(images), gray_digests(images.expand(-1, 3, -1, -1))
    >>> bool((gray == color).all()), len(set(gray.tolist())), gray_digests(images[:1] * 0)
    (True, 3, array([0], dtype=uint64))
    """
    digests: list[int] = []
    for part in torch.split(images, max(1, _CHUNK // max(1, images[:1].numel()))):
        thin = to_channels(thinned(part).contiguous(), 1)
        plain = (thin == thin[..., :1, :1]).flatten(1).all(1).tolist()
        for pixels, one_level in zip(thin.numpy(), plain, strict=True):
            digests.append(0 if one_level else value_digest(pixels, images.shape[-2:]))
    return np.array(digests, dtype=np.uint64)


def thinned(images: Tensor) -> Tensor:
    """Some rows and columns of images ``(..., H, W)`` alone, where there are many."""
    height, width = images.shape[-2:]
    return images[..., :: max(1, height // _SIDE), :: max(1, width // _SIDE)]


def value_digest(values: NDArray[np.generic], shape: tuple[int, ...] | torch.Size) -> int:
    """64 bits of BLAKE2b of an array, and the shape of the image that it stands for."""
    digest = hashlib.blake2b(repr(tuple(shape)).encode(), digest_size=8)
    digest.update(np.ascontiguousarray(values).data)
    return int.from_bytes(digest.digest(), "big")

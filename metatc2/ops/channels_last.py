"""Memory layout of images."""

from __future__ import annotations

from collections import Counter
from typing import TypeVar

import torch
from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)


def channels_last(images: Tensor) -> Tensor:
    """The same images laid out channels-last, in which torch's CPU kernels are the fast ones (max-pooling 15 times).

    Of images with one channel torch cannot tell the two layouts apart by their content, leaves them as they are, and then runs
    the first layer in the slow one; here their strides say channels-last, without a copy.

    Args:
        images: ``(N, C, H, W)``; anything else is returned as it is.

    >>> channels_last(torch.zeros(2, 1, 4, 4)).stride()
    (16, 1, 4, 1)
    """
    if images.ndim != 4:
        return images
    if images.shape[1] == 1:
        # Fresh strides by a reshape, which autograd and vmap know.
        return images.reshape(len(images), *images.shape[2:], 1).permute(0, 3, 1, 2)
    return images.contiguous(memory_format=torch.channels_last)


def channels_last_parameters(module: Module) -> Module:
    """Lay out a module's kernels channels-last, in place: the faster kernels for small images, on CPU and GPU alike.

    Only tensors with four axes have that layout (``module.to(memory_format=torch.channels_last)`` fails on the five axes of a
    `torch.nn.Conv3d`). Those whose memory is shared with another tensor stay as they are: a new layout is new memory.

    >>> conv = channels_last_parameters(nn.Conv2d(2, 3, 3))
    >>> conv.weight.is_contiguous(memory_format=torch.channels_last)
    True
    """
    tensors = [t for t in (*module.parameters(), *module.buffers()) if t.layout is torch.strided]
    owners = Counter(t.untyped_storage().data_ptr() for t in tensors)
    for t in tensors:
        if t.ndim == 4 and t.is_floating_point() and owners[t.untyped_storage().data_ptr()] == 1:
            t.data = t.data.contiguous(memory_format=torch.channels_last)
    return module

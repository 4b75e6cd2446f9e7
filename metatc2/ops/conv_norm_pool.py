"""Convolution, batch normalization and 2×2 max-pooling of images in one go: the first block of a small network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import handle_torch_function, has_torch_function

from metatc2.errors import InputError

_SIDE = 4  # of the part of an image that one pooled value sees: a 3×3 kernel at the four places of a 2×2 window
_ROWS = 4096  # pooled positions at a time: what is written then is read again before it leaves the cache

#: Mean ``(P,)`` and biased covariance ``(P, P)`` of the parts of some images, and how many parts there are.
Moments: TypeAlias = tuple[Tensor, Tensor, int]


def conv_norm_pool(
    images: Tensor,
    kernel: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float = 1e-5,
    *,
    pooled: Callable[[Moments], Moments] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """``max_pool2d(batch_norm(conv2d(images, kernel, padding=1)), 2)`` by the statistics of the batch, for few channels.

    The first layer of a network on small images is bound by memory: its maps are the largest, and every operation reads and
    writes them. They are never made whole here. Mean and variance of a channel follow from those of the 4×4 parts of the
    images, since convolution is linear; with them the normalization becomes part of the kernel; and of the four values of a
    window only the largest is kept, and has a gradient to pass on. Differentiable to any order in all but the images. Meant for
    single precision: in bf16, which moves half as much, torch's own operations were measured to be as fast.

    Args:
        images: ``(N, C, H, W)``, H and W even; no gradient flows into them.
        kernel: ``(D, C, 3, 3)``.
        weight: of the normalization, ``(D,)``.
        bias: of the normalization, ``(D,)``.
        eps: added to the variance.
        pooled: makes, of the moments of the parts of these images, those of more images, which normalize then; by default these
            images alone do. Modes of `torch.overrides` can give it.

    Returns:
        ``(N, D, H/2, W/2)``, laid out channels-last; mean ``(D,)`` and unbiased variance ``(D,)`` of the convolution's output,
        as running statistics take them.

    Raises:
        InputError: if the sides of the images are odd, or the kernel is not 3×3 on their channels.

    >>> out, mean, variance = conv_norm_pool(torch.rand(2, 1, 8, 8), torch.randn(4, 1, 3, 3), torch.ones(4), torch.zeros(4))
    >>> out.shape
    torch.Size([2, 4, 4, 4])
    """
    if images.ndim == 4 and kernel.ndim == 4 and kernel.shape[1] != images.shape[1]:
        raise InputError(
            f"images have {images.shape[1]} channels and the encoder takes {kernel.shape[1]}; make it with "
            f"channels={images.shape[1]}, or give images of {kernel.shape[1]}"
        )
    if images.ndim != 4 or images.shape[2] % 2 or images.shape[3] % 2 or kernel.shape[1:] != (images.shape[1], 3, 3):
        raise InputError(
            f"conv_norm_pool needs images (N, C, H, W) of even sides and a kernel (D, C, 3, 3), got {tuple(images.shape)} and "
            f"{tuple(kernel.shape)}; pad the images, or use torch's conv2d, batch_norm and max_pool2d"
        )
    if has_torch_function((images, kernel)):
        seen: tuple[Tensor, Tensor, Tensor] = handle_torch_function(
            conv_norm_pool, (images, kernel), images, kernel, weight, bias, eps, pooled=pooled
        )
        return seen
    n, _, high, wide = images.shape
    parts = F.unfold(images.detach(), _SIDE, stride=2, padding=1).transpose(1, 2).flatten(0, 1)
    placed = _placed(kernel)
    center, covariance, count = _moments(parts) if pooled is None else pooled(_moments(parts))
    mean, variance = _of_outputs(center, covariance, placed)
    scale = weight * (variance + eps).rsqrt()
    shift = (bias - mean * scale).expand(len(placed), 1, -1)
    out: Tensor = _WindowMax.apply(F.pad(parts, (0, 1), value=1.0), torch.cat([placed * scale, shift], 1))
    outputs = count * len(placed)
    unbiased = variance.detach() * (outputs / (outputs - 1))
    return out.view(n, high // 2, wide // 2, -1).permute(0, 3, 1, 2), mean.detach(), unbiased


def _placed(kernel: Tensor) -> Tensor:
    """``(D, C, 3, 3)`` to ``(4, 16 C, D)``: the kernel at every place of a window, as weights of a 4×4 part."""
    places = [F.pad(kernel, (right, 1 - right, down, 1 - down)) for down in (0, 1) for right in (0, 1)]
    return torch.stack(places).flatten(2).transpose(1, 2)


def _moments(parts: Tensor) -> Moments:
    center = parts.mean(0)
    about = parts - center
    return center, about.T @ about / len(about), len(about)


def _of_outputs(center: Tensor, covariance: Tensor, placed: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance ``(D,)`` of ``parts @ placed`` over rows and places, by the moments of the parts."""
    means = center @ placed
    mean = means.mean(0)
    within = (placed * (covariance @ placed)).sum(1)
    return mean, (within + (means - mean).square()).mean(0)


class _WindowMax(torch.autograd.Function):
    """``(rows, P)`` and ``(4, P, D)`` to ``(rows, D)``, the largest over places of ``parts @ placed[place]``."""

    @staticmethod
    def forward(ctx: Any, parts: Tensor, placed: Tensor) -> Tensor:
        shape = len(parts), placed.shape[-1]
        largest = parts.new_empty(shape)
        # Which won of the first two, of the last two, and of those; as numbers, which are compared and multiplied faster than
        # Booleans. The earlier wins where two are equal, as in torch's max_pool2d.
        first, last, final = (parts.new_empty(shape) for _ in range(3))
        for start in range(0, len(parts), _ROWS):
            rows = slice(start, start + _ROWS)
            own, best = parts[rows], largest[rows]
            value = own @ placed[0]
            torch.mm(own, placed[1], out=best)
            torch.gt(best, value, out=first[rows])
            torch.maximum(best, value, out=best)
            torch.mm(own, placed[2], out=value)
            other = own @ placed[3]
            torch.gt(other, value, out=last[rows])
            torch.maximum(other, value, out=value)
            torch.gt(value, best, out=final[rows])
            torch.maximum(best, value, out=best)
        ctx.save_for_backward(parts, first, last, final)
        return largest

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:
        # Of operations that autograd knows, and linear in `grad`: a second derivative needs no more.
        parts, first, last, final = ctx.saved_tensors
        sums = []
        for start in range(0, len(parts), _ROWS):
            rows = slice(start, start + _ROWS)
            below = grad[rows] * final[rows]
            above = grad[rows] - below
            right = above * first[rows], below * last[rows]
            by_place = above - right[0], right[0], below - right[1], right[1]
            sums.append(torch.stack([parts[rows].T @ part for part in by_place]))
        return None, torch.stack(sums).sum(0)

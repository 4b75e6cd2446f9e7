"""Features of a frozen encoder: computed once, kept, and measured by every protocol."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from metatc2.models.encoding import check_encoder, encode, place_of
from metatc2.models.inputs import finite, images_of
from metatc2.ops.module_state import evaluation_mode
from metatc2.ops.numbers import whole
from metatc2.ops.precision import without_autocast

__all__ = ["evaluation_mode", "extract", "finite", "raw_pixels"]


def extract(
    encoder: nn.Module,
    images: Any,
    *,
    batch: int = 512,
    device: torch.device | str | None = None,
    name: str = "the encoder",
) -> Tensor:
    """Features of images under a frozen encoder: eval mode (BatchNorm included), no gradients, single precision.

    The encoder is left as it was, whatever it does when it is called: modes, parameters, buffers.

    Args:
        encoder: maps ``(n, C, H, W)`` in [0, 1] to ``(n, D)``. It gets the images in the precision of its weights: half and
            double encoders run as they are.
        images: uint8 ``(N, C, H, W)``, in memory or on disk; a NumPy array may be ``(N, H, W)`` or ``(N, H, W, C)`` too.
        batch: images a forward pass; changes memory, not results.
        device: where to run; by default, where the encoder's first parameter lies. The encoder is not moved.
        name: what errors call the encoder.

    Returns:
        float32 ``(N, D)`` on the CPU.

    Raises:
        InputError: if the encoder does not return finite ``(n, D)``, cannot take the images or has no weights yet (lazy
            layers), or `images` are not uint8 ``(N, C, H, W)``.

    >>> extract(nn.Flatten(), torch.full((3, 1, 2, 2), 255, dtype=torch.uint8)).shape
    torch.Size([3, 4])
    """
    images = images_of(images, "features: images")
    batch = whole(batch, "extract: batch", 1)
    check_encoder(encoder, name)
    where = place_of(encoder, device, images.device)
    parts = []
    with evaluation_mode(encoder), torch.no_grad(), without_autocast(where):
        for start in range(0, len(images), batch):
            rows = images[start : start + batch].to(where).float() / 255
            parts.append(encode(encoder, rows, name).cpu())
    return finite(torch.cat(parts), name)


def raw_pixels(images: Any) -> Tensor:
    """Pixels as features, the control that no learning stands behind.

    Args:
        images: see `extract`.

    Returns:
        float32 ``(N, C*H*W)`` in [0, 1].

    Raises:
        InputError: if `images` are not uint8 ``(N, C, H, W)``.

    >>> raw_pixels(torch.full((2, 3, 4, 4), 255, dtype=torch.uint8)).shape
    torch.Size([2, 48])
    """
    pixels = images_of(images, "features: images")
    return pixels[:].flatten(1).cpu().float() / 255

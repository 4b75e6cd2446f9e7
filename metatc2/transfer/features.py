"""Features of a frozen encoder: computed once, kept, and judged by every protocol."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import torch
from torch import Tensor, nn

from metatc2.data.streaming import Images
from metatc2.errors import InputError
from metatc2.kernels import channels_last


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """`module` in eval mode; on leaving, every sub-module returns to the mode it was in."""
    before = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        # One by one: a part that the user froze in eval mode must stay so under a parent that trains.
        for part, training in before:
            part.training = training


def extract(
    encoder: nn.Module,
    images: Images,
    *,
    batch: int = 512,
    device: torch.device | str | None = None,
    name: str = "the encoder",
) -> Tensor:
    """Features of images under a frozen encoder: eval mode (BatchNorm included), no gradients, single precision.

    Args:
        encoder: maps ``(n, C, H, W)`` in [0, 1] to ``(n, D)``.
        images: uint8 ``(N, C, H, W)``, in memory or on disk.
        batch: images a forward pass; changes memory, not results.
        device: where to run; by default, where the encoder's first parameter lies. The encoder is not moved.
        name: what errors call the encoder.

    Returns:
        float32 ``(N, D)`` on the CPU.

    Raises:
        InputError: if the encoder does not return finite ``(n, D)``, or `images` are not uint8 ``(N, C, H, W)``.

    >>> extract(nn.Flatten(), torch.full((3, 1, 2, 2), 255, dtype=torch.uint8)).shape
    torch.Size([3, 4])
    """
    _check(images)
    if batch < 1:
        raise InputError(f"extract: batch must be at least 1, got {batch}")
    first = next(chain(encoder.parameters(), encoder.buffers()), None)
    where = torch.device(device) if device is not None else (first.device if first is not None else images.device)
    parts = []
    with evaluation_mode(encoder), torch.no_grad(), torch.autocast(where.type, enabled=False):
        for start in range(0, len(images), batch):
            rows = images[start : start + batch]
            # Convolutions and poolings run about twice as fast on a CPU in this layout.
            out = encoder(channels_last(rows.to(where).float() / 255))
            if not isinstance(out, Tensor) or out.ndim != 2 or len(out) != len(rows):
                got = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
                raise InputError(
                    f"extract: {name} must map ({len(rows)}, C, H, W) to a tensor ({len(rows)}, D), got {got}; "
                    "end it with a pooling or nn.Flatten()"
                )
            parts.append(out.float().cpu())
    return finite(torch.cat(parts), name)


def raw_pixels(images: Tensor) -> Tensor:
    """Pixels as features, the control that no learning stands behind.

    Args:
        images: uint8 ``(N, C, H, W)``.

    Returns:
        float32 ``(N, C*H*W)`` in [0, 1].

    Raises:
        InputError: if `images` are not uint8 ``(N, C, H, W)``.

    >>> raw_pixels(torch.full((2, 3, 4, 4), 255, dtype=torch.uint8)).shape
    torch.Size([2, 48])
    """
    _check(images)
    return images.flatten(1).cpu().float() / 255


def finite(features: Tensor, name: str) -> Tensor:
    """`features` as they are, if every value is finite.

    Raises:
        InputError: if one is NaN or infinite: a nearest neighbour of NaN would silently be some class.
    """
    bad = ~features.isfinite().all(1)
    if bad.any():
        raise InputError(
            f"{name}: {int(bad.sum())} of {len(features)} images have features that are NaN or infinite "
            f"(first at row {int(bad.nonzero()[0])}); its weights are probably not finite, load an earlier checkpoint"
        )
    return features


def _check(images: Images) -> None:
    if images.dtype != torch.uint8 or images.ndim != 4 or len(images) == 0:
        raise InputError(
            f"features: images must be uint8 (N, C, H, W) with N at least 1, got {images.dtype} {tuple(images.shape)}"
        )

"""Encoders by name: images ``(N, C, H, W)``, float in [0, 1], to features ``(N, dim)``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import nn

from metatc2.errors import InputError
from metatc2.io import registries
from metatc2.io.registry import Registry

ENCODERS: Registry[Callable[..., nn.Module]] = registries.ENCODERS
Build = TypeVar("Build", bound=Callable[..., nn.Module])


def register_encoder(name: str) -> Callable[[Build], Build]:
    """Decorator of a class or function that makes an encoder, which then can be trained by its name.

    It is called with the keywords ``channels``, ``image_size`` and ``width`` (None where none is chosen); where the name ends
    in a place, as in ``timm:NAME``, with what stands there before them. What it returns is freshly initialized and maps
    images ``(N, C, H, W)`` in [0, 1] to features ``(N, dim)``; `feature_dim` says how ``dim`` is known.

    Args:
        name: see `Registry.register`.

    Raises:
        InputError: if the name is taken.
    """
    return ENCODERS.register(name)  # type: ignore[return-value]  # it returns the very thing that it is given


def build_encoder(name: str, *, channels: int, image_size: int, width: int | None = None) -> nn.Module:
    """An encoder by name, freshly initialized from torch's global random state (`torch.random.fork_rng` fences it).

    Args:
        name: one of `ENCODERS`, e.g. ``"conv4"``, ``"resnet18"`` or ``"timm:vit_tiny_patch16_224"``.
        channels: 1 or 3.
        image_size: side of the images in pixels.
        width: channels of the first stage; 64 by default. Not for timm, whose names say it.

    Returns:
        A module from images ``(N, C, H, W)`` in [0, 1] to ``(N, dim)``; ours have the attribute `dim`.

    Raises:
        InputError: if the name is unknown, or does not go with the size or the width.
        MissingPackage: if timm is asked for and not installed.

    >>> build_encoder("conv4", channels=1, image_size=28, width=32).dim
    32
    """
    if width is not None and width < 1:
        raise InputError(f"width must be at least 1, found {width}")
    registered, rest = ENCODERS.resolve(name)
    return ENCODERS[registered](*([rest] if rest else []), channels=channels, image_size=image_size, width=width)

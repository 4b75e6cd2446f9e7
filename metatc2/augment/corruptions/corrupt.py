"""`corrupt`: one corruption at one severity on a batch of images."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from metatc2.augment.corruptions import _random, blur, digital, noise, weather
from metatc2.augment.corruptions.severity import CorruptionKind, levels
from metatc2.errors import InputError, nearest

SEVERITIES = (1, 2, 3, 4, 5)
SMALLEST = 8

# Values that are worked on at a time.
_BLOCK = 2**21

_ELASTIC = levels((0.01, 0.016, 0.022, 0.03, 0.04))

# Strengths of CIFAR-10-C and ImageNet-C, by the authors' programs, but for these at 32 pixels: defocus has discs with the
# variance of the published kernels, most of which are one softened pixel; the fourth σ of motion (radius, σ) was 2, and
# the fourth severity the third again; the shares of pixelate were 0.95 to 0.65, of which the first three are equally
# strong. Zoom is how far the published steps go, fog is density and decay. Elastic has values of its own, see there.
CORRUPTIONS: Mapping[str, CorruptionKind] = MappingProxyType(
    {
        "gaussian_noise": CorruptionKind(
            "noise", noise.gaussian_noise, levels((0.04, 0.06, 0.08, 0.09, 0.1)), levels((0.08, 0.12, 0.18, 0.26, 0.38))
        ),
        "shot_noise": CorruptionKind(
            "noise", noise.shot_noise, levels((500, 250, 100, 75, 50)), levels((60, 25, 12, 5, 3))
        ),
        "impulse_noise": CorruptionKind(
            "noise", noise.impulse_noise, levels((0.01, 0.02, 0.03, 0.05, 0.07)), levels((0.03, 0.06, 0.09, 0.17, 0.27))
        ),
        "speckle_noise": CorruptionKind(
            "noise", noise.speckle_noise, levels((0.06, 0.1, 0.12, 0.16, 0.2)), levels((0.15, 0.2, 0.35, 0.45, 0.6))
        ),
        "gaussian_blur": CorruptionKind(
            "blur", blur.gaussian_blur, levels((0.4, 0.6, 0.7, 0.8, 1)), levels((1, 2, 3, 4, 6)), lengths=(0,)
        ),
        "defocus_blur": CorruptionKind(
            "blur", blur.defocus_blur, levels((0.55, 0.69, 0.93, 1, 1.58)), levels((3, 4, 6, 8, 10)), lengths=(0,)
        ),
        "motion_blur": CorruptionKind(
            "blur",
            blur.motion_blur,
            levels((6, 6, 6, 8, 9), (1, 1.5, 2, 2.25, 2.5)),
            levels((10, 15, 15, 15, 20), (3, 5, 8, 12, 15)),
            lengths=(0, 1),
        ),
        "zoom_blur": CorruptionKind(
            "blur", blur.zoom_blur, levels((0.05, 0.1, 0.15, 0.2, 0.25)), levels((0.1, 0.15, 0.2, 0.24, 0.3))
        ),
        "fog": CorruptionKind(
            "weather",
            weather.fog,
            levels((0.2, 0.5, 0.75, 1, 1.5), (3, 3, 2.5, 2, 1.75)),
            levels((1.5, 2, 2.5, 2.5, 3), (2, 2, 1.7, 1.5, 1.4)),
        ),
        "brightness": CorruptionKind(
            "weather", weather.brightness, levels((0.05, 0.1, 0.15, 0.2, 0.3)), levels((0.1, 0.2, 0.3, 0.4, 0.5))
        ),
        "contrast": CorruptionKind(
            "digital", digital.contrast, levels((0.75, 0.5, 0.4, 0.3, 0.15)), levels((0.4, 0.3, 0.2, 0.1, 0.05))
        ),
        "elastic_transform": CorruptionKind("digital", digital.elastic_transform, _ELASTIC, _ELASTIC),
        "pixelate": CorruptionKind(
            "digital", digital.pixelate, levels((0.9, 0.81, 0.75, 0.66, 0.56)), levels((0.6, 0.5, 0.4, 0.3, 0.25))
        ),
        "jpeg_compression": CorruptionKind(
            "digital", digital.jpeg_compression, levels((80, 65, 58, 50, 40)), levels((25, 18, 15, 10, 7))
        ),
    }
)


def corrupt(images: Tensor, name: str, severity: int, generator: torch.Generator) -> Tensor:
    """Corrupt every image of a batch (Hendrycks & Dietterich 2019, arXiv 1903.12261).

    Every image has random numbers of its own, seeded from the generator in order, so the result does not depend on how the
    images are cut into batches. One generator state gives the same random numbers at every severity. The work is done on
    the CPU. Images of other sizes than 32 and 224 pixels: see `CorruptionKind.parameters`.

    Args:
        images: ``(N, 1 or 3, H, W)`` from 8 pixels a side on, uint8 or float in [0, 1].
        name: of `CORRUPTIONS`.
        severity: 1 (weakest) to 5.
        generator: the only source of _random.

    Returns:
        of the shape, dtype and device of `images`, in its range.

    Raises:
        InputError: if the name is unknown, or severity, shape, dtype or values do not fit.

    >>> images = torch.full((2, 3, 32, 32), 0.5)
    >>> noisy = corrupt(images, "gaussian_noise", 5, torch.Generator().manual_seed(0))
    >>> noisy.shape, round(float(noisy.std()), 2)
    (torch.Size([2, 3, 32, 32]), 0.1)
    """
    if name not in CORRUPTIONS:
        raise InputError(f"corrupt: unknown corruption {name!r}; {nearest(name, CORRUPTIONS)}")
    if severity not in SEVERITIES:
        raise InputError(f"corrupt: severity must be a whole number from 1 to 5, got {severity!r}")
    _check(images)
    kind, size = CORRUPTIONS[name], min(images.shape[2:])
    parameters = kind.parameters(severity, size)
    seeds = _random.seeds(len(images), generator)
    block = max(1, _BLOCK // images[:1].numel()) if len(images) else 1
    parts = [images[:0]]
    for start in range(0, len(images), block):
        some = images[start : start + block].detach().cpu()
        x = some.float() / 255 if some.dtype == torch.uint8 else some.float()
        made = kind.apply(x.contiguous(), seeds[start : start + block], *parameters).clamp(0, 1)
        made = (made * 255).round() if some.dtype == torch.uint8 else made
        parts.append(made.to(images))
    return torch.cat(parts)


def _check(images: Tensor) -> None:
    if images.ndim != 4 or images.shape[1] not in (1, 3) or min(images.shape[2:]) < SMALLEST:
        raise InputError(
            f"corrupt: images must have shape (N, 1 or 3, H, W) with H and W at least {SMALLEST}, got {tuple(images.shape)}"
        )
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise InputError(f"corrupt: images must be uint8, or float in [0, 1], got {images.dtype}; convert with .byte()")
    if images.dtype != torch.uint8 and images.numel():
        low, high = images.aminmax()
        if not (low >= 0 and high <= 1):
            raise InputError(
                f"corrupt: float images must lie in [0, 1], got values from {float(low):g} to {float(high):g}; "
                "divide by 255 or give uint8"
            )

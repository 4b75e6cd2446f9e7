"""Four families of augmentations, each with a strength: a recipe is a vector of four numbers.

What a family changes from view to view, an encoder that is trained on such views learns to leave out (Tian et al., arXiv
2005.10243; Xiao et al., arXiv 2008.05659). Tasks whose recipes differ ask for different things to be left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Final

from metatc2.augment.views import Views
from metatc2.errors import InputError

#: Names of the families, in the order of the strengths.
FAMILIES: Final = ("color", "geometry", "scale", "blur_light")

#: What stays on in every recipe: a weak crop, so that no two views are the same image.
BASE: Final = Views(crop_scale=(0.7, 1.0), crop_ratio=(0.9, 1.1))


def recipe(strengths: Sequence[float], base: Views = BASE) -> Views:
    """The recipe in which each family is as strong as a number says; for photographs of 32 pixels.

    At strength 1, and in between in proportion:

    | family | what it does |
    |---|---|
    | ``color`` | hue ± 0.5 turns, saturation, brightness and contrast ± 0.4, colors dropped with probability 0.3 |
    | ``geometry`` | rotation to ± 180°, mirrored with probability 0.5 |
    | ``scale`` | windows of 25 to 80 % of the area at ratios from 3/4 to 4/3: place and size vary |
    | ``blur_light`` | blur of σ 0.4 to 1.6 pixels, brightness and contrast ± 0.6 |

    A family never makes an operation weaker than the base has it; at strength 0 it leaves the base as it is. On gray images
    hue, saturation and dropped colors do nothing, and brightness and contrast remain of ``color``.

    Args:
        strengths: four numbers from 0 to 1, in the order of `FAMILIES`.
        base: the recipe that the families are added to.

    Raises:
        InputError: if there are not four numbers from 0 to 1.

    >>> recipe([0, 0, 0, 0]) == BASE
    True
    >>> recipe([0, 0.5, 0, 0]).rotation, recipe([0, 0, 1, 0]).crop_scale
    (90.0, (0.25, 0.8))
    """
    numbers = [float(s) for s in strengths]
    if len(numbers) != len(FAMILIES) or not all(0 <= s <= 1 for s in numbers):
        raise InputError(
            f"recipe: expected {len(FAMILIES)} strengths from 0 to 1, one each for {', '.join(FAMILIES)}, got {numbers}"
        )
    color, geometry, scale, blur_light = numbers
    return dataclasses.replace(
        base,
        jitter=1.0 if color or blur_light else base.jitter,
        brightness=max(base.brightness, 0.4 * color, 0.6 * blur_light),
        contrast=max(base.contrast, 0.4 * color, 0.6 * blur_light),
        saturation=max(base.saturation, 0.4 * color),
        hue=max(base.hue, 0.5 * color),
        grayscale=max(base.grayscale, 0.3 * color),
        rotation=max(base.rotation, 180.0 * geometry),
        flip=max(base.flip, 0.5 * geometry),
        crop_scale=(_stronger(min, base.crop_scale[0], 0.25, scale), _stronger(min, base.crop_scale[1], 0.8, scale)),
        crop_ratio=(_stronger(min, base.crop_ratio[0], 3 / 4, scale), _stronger(max, base.crop_ratio[1], 4 / 3, scale)),
        blur=1.0 if blur_light else base.blur,
        blur_sigma=_sigma(base, blur_light),
    )


def _stronger(choose: Callable[[float, float], float], base: float, full: float, strength: float) -> float:
    """On the way from the base's value to the full one, unless the base's is beyond it."""
    return choose(base, base + strength * (full - base))


def _sigma(base: Views, strength: float) -> tuple[float, float]:
    own = (0.4 * strength, 1.6 * strength)
    if not strength:
        return base.blur_sigma
    return (max(base.blur_sigma[0], own[0]), max(base.blur_sigma[1], own[1])) if base.blur else own

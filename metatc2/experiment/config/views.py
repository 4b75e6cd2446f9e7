"""``[views]``: how two views of an image are made."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Any

from pydantic import Field

from metatc2.io.options import Names, Options, Share
from metatc2.io.registries import RECIPES

Range = tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(gt=0, le=1)]]
Ratio = tuple[Annotated[float, Field(ge=0.01, le=100)], Annotated[float, Field(ge=0.01, le=100)]]
Sigma = tuple[Annotated[float, Field(gt=0, le=100)], Annotated[float, Field(gt=0, le=100)]]
Amount = Annotated[float, Field(ge=0, le=100)]


def _recipe(name: str) -> Callable[[dict[str, Any]], Any]:
    """The value that a recipe has, for a field's default."""
    return lambda known: getattr(_made(RECIPES[known.get("recipe", "glyphs")]), name)


@lru_cache(maxsize=64)
def _made(recipe: Callable[[], Any]) -> Any:
    """Made and checked once, and not for each of its values."""
    return recipe()


class ViewsConfig(Options):
    """How views are made: a recipe, and whatever should differ from it.

    >>> ViewsConfig(recipe="natural").flip, ViewsConfig().flip
    (0.5, 0.0)
    """

    section = "views"

    recipe: Annotated[str, Names(RECIPES)] = Field("glyphs", description="the set of augmentations to start from")
    crop_scale: Range = Field(
        default_factory=_recipe("crop_scale"), description="smallest and largest share of the area kept by a crop"
    )
    crop_ratio: Ratio = Field(
        default_factory=_recipe("crop_ratio"), description="smallest and largest width / height of a crop"
    )
    rotation: float = Field(default_factory=_recipe("rotation"), ge=0, le=180, description="largest rotation, degrees")
    shear: float = Field(default_factory=_recipe("shear"), ge=0, lt=90, description="largest shear, degrees")
    flip: Share = Field(default_factory=_recipe("flip"), description="probability of a left-right flip")
    jitter: Share = Field(default_factory=_recipe("jitter"), description="probability of a color jitter")
    brightness: Amount = Field(
        default_factory=_recipe("brightness"), description="range of the brightness factor around 1"
    )
    contrast: Amount = Field(default_factory=_recipe("contrast"), description="range of the contrast factor around 1")
    saturation: Amount = Field(
        default_factory=_recipe("saturation"), description="range of the saturation factor around 1"
    )
    hue: float = Field(default_factory=_recipe("hue"), ge=0, le=0.5, description="range of the hue shift, in turns")
    grayscale: Share = Field(default_factory=_recipe("grayscale"), description="probability of dropping the colors")
    blur: Share = Field(default_factory=_recipe("blur"), description="probability of a Gaussian blur")
    blur_sigma: Sigma = Field(
        default_factory=_recipe("blur_sigma"), description="smallest and largest sigma of the blur, pixels"
    )
    solarize: Share = Field(default_factory=_recipe("solarize"), description="probability of solarizing")
    solarize_threshold: Share = Field(
        default_factory=_recipe("solarize_threshold"), description="pixels from here on are inverted"
    )
    invert: Share = Field(
        default_factory=_recipe("invert"), description="probability of swapping foreground and background intensities"
    )

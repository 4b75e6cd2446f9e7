"""Recipes of views by name: what a task file starts from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from metatc2.augment.views import Views
from metatc2.io import registries
from metatc2.io.registry import Registry

Recipe = Callable[[], Views]
RECIPES: Registry[Recipe] = registries.RECIPES


def register_recipe(name: str) -> Callable[[Recipe], Recipe]:
    """Decorator of a function without arguments that returns `Views`, which then can be chosen by its name.

    Args:
        name: see `Registry.register`.

    Raises:
        InputError: if the name is taken.
    """
    return RECIPES.register(name)


@register_recipe("none")
def none() -> Views:
    """See `Views.none`."""
    return Views.none()


@register_recipe("glyphs")
def glyphs() -> Views:
    """See `Views.glyphs`."""
    return Views.glyphs()


@register_recipe("natural")
def natural() -> Views:
    """See `Views.natural`."""
    return Views.natural()


@register_recipe("every-operation")
def every_operation() -> Views:
    """All operations, wide: for probes of what features tell of each."""
    wider: dict[str, Any] = {
        "crop_scale": (0.3, 1.0),
        "rotation": 45.0,
        "shear": 15.0,
        "hue": 0.2,
        "solarize": 0.2,
        "invert": 0.2,
    }
    return dataclasses.replace(Views.natural(), **wider)


def build_recipe(name: str) -> Views:
    """A recipe by name.

    Args:
        name: one of `RECIPES`.

    Raises:
        InputError: if the name is unknown.

    >>> build_recipe("natural") == Views.natural()
    True
    """
    return RECIPES[name]()

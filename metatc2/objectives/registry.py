"""Objectives by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from metatc2.io import registries
from metatc2.io.registry import Registry
from metatc2.objectives.base import Objective
from metatc2.objectives.named import build

OBJECTIVES: Registry[type[Objective]] = registries.OBJECTIVES
Kind = TypeVar("Kind", bound=type[Objective])


def register_objective(name: str) -> Callable[[Kind], Kind]:
    """Decorator of an `Objective` class that can then be trained by its name, also from the command line.

    Args:
        name: see `Registry.register`; becomes the class's `name`.

    Raises:
        InputError: if the name is taken.
    """
    return OBJECTIVES.register_class(name)


def build_objective(name: str, **options: float) -> Objective:
    """An objective by name.

    Args:
        name: one of `OBJECTIVES`.
        options: arguments of its class, all numbers.

    Raises:
        InputError: if the name or an option is unknown, or a value is out of range.

    >>> build_objective("simclr", temperature=0.2).temperature
    0.2
    >>> build_objective("barlow_twins")
    Traceback (most recent call last):
    metatc2.errors.InputError: unknown objective 'barlow_twins'; did you mean 'barlow'? Known: barlow, byol, lejepa, ...
    """
    return build(OBJECTIVES, name, options)

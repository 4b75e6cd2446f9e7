"""Regularizers by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from metatc2.io import registries
from metatc2.io.registry import Registry
from metatc2.objectives.named import build
from metatc2.objectives.regularizers.base import Regularizer

REGULARIZERS: Registry[type[Regularizer]] = registries.REGULARIZERS
Kind = TypeVar("Kind", bound=type[Regularizer])


def register_regularizer(name: str) -> Callable[[Kind], Kind]:
    """Decorator of a `Regularizer` class that can then be used by its name, also from the command line.

    Args:
        name: see `Registry.register`; becomes the class's `name`.

    Raises:
        InputError: if the name is taken.
    """
    return REGULARIZERS.register_class(name)


def build_regularizer(name: str, **options: float) -> Regularizer:
    """A regularizer by name.

    Args:
        name: one of `REGULARIZERS`.
        options: arguments of its class, all numbers.

    Raises:
        InputError: if the name or an option is unknown, or a value is out of range.

    >>> build_regularizer("sigreg", slices=64).slices
    64
    >>> build_regularizer("sigregs")
    Traceback (most recent call last):
    metatc2.errors.InputError: unknown regularizer 'sigregs'; did you mean 'sigreg'? Known: isotropy, sigreg, visreg
    """
    return build(REGULARIZERS, name, options)

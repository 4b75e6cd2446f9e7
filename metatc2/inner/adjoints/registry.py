"""Ways to differentiate an inner loop by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from metatc2.inner.adjoints.base import Adjoint, AdjointSettings
from metatc2.io import registries
from metatc2.io.registry import Registry

ADJOINTS: Registry[type[Adjoint]] = registries.ADJOINTS
Kind = TypeVar("Kind", bound=type[Adjoint])


def register_adjoint(name: str) -> Callable[[Kind], Kind]:
    """Decorator of an `Adjoint` class that can then be chosen by its name, also from the command line.

    It is built by its class method `Adjoint.from_settings`.

    Args:
        name: see `Registry.register`.

    Raises:
        InputError: if the name is taken.
    """
    return ADJOINTS.register(name)  # type: ignore[return-value]  # it returns the very class that it is given


def build_adjoint(name: str, *, last_steps: int = 1, samples: int = 64) -> Adjoint:
    """A way to differentiate an inner loop, by name.

    Args:
        name: one of `ADJOINTS`.
        last_steps, samples: see `AdjointSettings`.

    Raises:
        InputError: if the name is unknown, or a number is out of range.

    >>> build_adjoint("truncated", last_steps=2)
    Truncated(last=2)
    >>> build_adjoint("unrol")
    Traceback (most recent call last):
    metatc2.errors.InputError: unknown adjoint 'unrol'; did you mean 'unroll'? Known: evolution, first-order, implicit, ...
    """
    return ADJOINTS[name].from_settings(AdjointSettings(last_steps, samples))

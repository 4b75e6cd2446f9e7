"""Regularizers by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, TypeVar

from pydantic import Field

from metatc2.io import registries
from metatc2.io.options import Factor, Names, Options, options_like
from metatc2.io.registry import Registry
from metatc2.objectives.named import build
from metatc2.objectives.regularizers.base import Regularizer

REGULARIZERS: Registry[type[Regularizer]] = registries.REGULARIZERS
Kind = TypeVar("Kind", bound=type[Regularizer])


def register_regularizer(name: str) -> Callable[[Kind], Kind]:
    """Decorator of a `Regularizer` class that can then be used by its name, also from the command line.

    Arguments of the class that are numbers, text, switches or lists of them become its options in a configuration.

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


class RegularizerOptions(Options):
    """What a regularizer that is chosen by its name is built from, and its weight.

    >>> regularizer_options("sigreg")(slices=64).build().slices
    64
    """

    section = "regularizer"

    name: Annotated[str, Names(REGULARIZERS)] = Field(description="a regularizer of the representation, or none")
    weight: Factor = Field(
        Regularizer.weight, ge=0, description="its weight, in units of the objective's gradient scale"
    )

    def build(self) -> Regularizer:
        """The regularizer.

        Raises:
            InputError: if its class refuses a value.
        """
        return REGULARIZERS[self.name](**self.beyond(RegularizerOptions))


def regularizer_options(name: str) -> type[RegularizerOptions]:
    """The options of the regularizer of a name: the arguments of its class, and its weight.

    Raises:
        InputError: if the name is unknown.

    >>> regularizer_options("isotropy")()
    IsotropyOptions(name='isotropy', weight=0.03)
    """
    kind = REGULARIZERS[name]
    return options_like(kind, RegularizerOptions, name=name, usual={"weight": kind.weight})

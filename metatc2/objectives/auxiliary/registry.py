"""Auxiliary losses by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from pydantic import Field

from metatc2.io import registries
from metatc2.io.options import Factor, Names, Options, options_like
from metatc2.io.registry import Registry
from metatc2.objectives.auxiliary.base import Auxiliary

AUXILIARY: Registry[type[Auxiliary]] = registries.AUXILIARY
Kind = TypeVar("Kind", bound=type[Auxiliary])


def register_auxiliary(name: str) -> Callable[[Kind], Kind]:
    """Decorator of an `Auxiliary` class; all as in `metatc2.objectives.register_objective`."""
    return AUXILIARY.register_class(name)


class AuxiliaryOptions(Options):
    """What an auxiliary loss that is chosen by its name is built from, and its weight.

    >>> auxiliary_options("augself")(weight=0.5).build(dim=32).name
    'augself'
    """

    section = "auxiliary"

    name: Annotated[str, Names(AUXILIARY)] = Field(
        description="a loss by which the encoder shall tell how views were made, or none"
    )
    weight: Factor = Field(Auxiliary.weight, ge=0, description="its weight beside the objective")

    def build(self, dim: int) -> Auxiliary:
        """The loss, for an encoder of width `dim`.

        Raises:
            InputError: if its class refuses a value.
        """
        kind: Any = AUXILIARY[self.name]
        made: Auxiliary = kind(dim, **self.beyond(AuxiliaryOptions))
        return made


def auxiliary_options(name: str) -> type[AuxiliaryOptions]:
    """The options of the loss of a name: the arguments of its class, and its weight.

    Raises:
        InputError: if the name is unknown.

    >>> auxiliary_options("augself")().hidden
    512
    """
    kind = AUXILIARY[name]
    return options_like(kind, AuxiliaryOptions, name=name, usual={"weight": kind.weight})

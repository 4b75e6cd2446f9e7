"""Ways to differentiate an inner loop by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from metatc2.inner.adjoints.base import Adjoint
from metatc2.io import registries
from metatc2.io.options import Names, Options, options_like
from metatc2.io.registry import Registry

ADJOINTS: Registry[type[Adjoint]] = registries.ADJOINTS
Kind = TypeVar("Kind", bound=type[Adjoint])


def register_adjoint(name: str) -> Callable[[Kind], Kind]:
    """Decorator of an `Adjoint` class that can then be chosen by its name, also from the command line.

    Arguments of the class that are numbers, text, switches or lists of them become its options in a configuration.

    Args:
        name: see `Registry.register`.

    Raises:
        InputError: if the name is taken.
    """
    return ADJOINTS.register(name)  # type: ignore[return-value]  # it returns the very class that it is given


def build_adjoint(name: str, **options: Any) -> Adjoint:
    """A way to differentiate an inner loop, by name.

    Args:
        name: one of `ADJOINTS`.
        options: of its own.

    Raises:
        InputError: if the name or an option is unknown, or a value is out of range.

    >>> build_adjoint("truncated", last_steps=2)
    Truncated(last_steps=2)
    >>> build_adjoint("unrol")
    Traceback (most recent call last):
    metatc2.errors.InputError: unknown adjoint 'unrol'; did you mean 'unroll'? Known: evolution, first-order, implicit, ...
    """
    return adjoint_options(name)(**options).build()


class AdjointOptions(Options):
    """What an adjoint that is chosen by its name is built from.

    >>> adjoint_options("evolution")(samples=3).build()
    EvolutionStrategies(samples=3, sigma=0.05)
    """

    section = "adjoint"

    name: Annotated[str, Names(ADJOINTS)] = Field("unroll", description="how the inner loop is differentiated")

    @classmethod
    def expected(cls) -> str:
        """What is expected where one is chosen, in words."""
        return Names(ADJOINTS).expected()

    @classmethod
    def names(cls) -> Iterable[str]:
        """What can be chosen."""
        return ADJOINTS

    @classmethod
    def named(cls, name: str) -> type[AdjointOptions]:
        """See `adjoint_options`."""
        return adjoint_options(name)

    def build(self) -> Adjoint:
        """The adjoint.

        Raises:
            InputError: if its class refuses a value.
        """
        kind: Any = ADJOINTS[self.name]
        made: Adjoint = kind(**self.beyond(AdjointOptions))
        return made


def adjoint_options(name: str) -> type[AdjointOptions]:
    """The options of the adjoint of a name: the arguments of its class.

    Raises:
        InputError: if the name is unknown.
    """
    kind = ADJOINTS[name]
    return options_like(kind, AdjointOptions, name=name, usual=kind.usual)


def chosen_adjoint(value: object) -> object:
    """The options that a name, or a table with a name and options, stands for; anything else as it is.

    >>> chosen_adjoint({"name": "truncated", "last_steps": 2}).last_steps
    2
    """
    if isinstance(value, str) and value:
        Names(ADJOINTS).checked(value)
        return adjoint_options(value)()
    if isinstance(value, Mapping) and isinstance(value.get("name"), str):
        Names(ADJOINTS).checked(value["name"])
        return adjoint_options(value["name"])(**value)
    if isinstance(value, Mapping):
        raise PydanticCustomError("adjoint", "a table without a name")
    return value


#: A field of options by which an adjoint is chosen.
AdjointChoice = Annotated[AdjointOptions, BeforeValidator(chosen_adjoint)]

"""Types of options: numbers that a machine can follow, and names that are registered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from metatc2.errors import nearest_registered
from metatc2.io.options.words import show, shown
from metatc2.io.registries import INNER_OPTIMIZERS

# An error of this kind has a text that follows the key; see `metatc2.io.options.errors`.
SAID = "said"


@dataclass(frozen=True)
class Ceiling:
    """Beyond it no machine or no format of numbers can follow; of no interest to who reads what a key accepts."""

    limit: float = 10**9

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def _checked(self, value: Any) -> Any:
        if value > self.limit:
            raise PydanticCustomError(
                SAID, "{text}", {"text": f"can be at most {self.limit:.10g}, found {shown(value)}"}
            )
        return value


@dataclass(frozen=True, eq=False)
class Names:
    """The texts that a key takes, as ``Annotated[str, Names(...)]``: what is registered, and words that mean something else.

    A word may end in a place, as ``torchvision:NAME`` does.

    >>> from metatc2.io.registries import REGULARIZERS
    >>> list(Names(REGULARIZERS, ("none",)))
    ['none', 'isotropy', 'sigreg', 'visreg']
    """

    registry: Mapping[str, Any]
    also: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[str]:
        return iter((*self.also, *self.registry))

    def __contains__(self, text: str) -> bool:
        kind, colon, rest = text.partition(":")
        return text in tuple(self) or bool(colon and rest and any(name.startswith(f"{kind}:") for name in self))

    def expected(self) -> str:
        """What is expected, in words."""
        return "one of " + ", ".join(show(name) for name in self)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.checked, handler(source))

    def checked(self, text: str) -> str:
        """The text, if it is one of them; else the error that pydantic expects."""
        if text not in self:
            hint = nearest_registered(text[:100], self)
            raise PydanticCustomError(SAID, "{text}", {"text": f"cannot be {shown(text)}; {hint}"})
        return text


Count = Annotated[int, Ceiling()]
Number = Annotated[float, Ceiling()]
# A number that is a factor: float32 ends at 3e38, and Adam takes ten times its rate at first.
Factor = Annotated[float, Ceiling(1e36)]
Share = Annotated[float, Field(ge=0, le=1)]
InnerOptimizerName = Annotated[str, Names(INNER_OPTIMIZERS)]

"""A set of options: strict, frozen, and checked when it is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from metatc2.errors import InputError
from metatc2.io.options.errors import sentence
from metatc2.io.options.types import SAID
from metatc2.io.options.words import shown

LONGEST_TEXT = 4096  # characters: as long as a path can be
MOST_ITEMS = 1024  # of a list


class WrongOption(InputError):
    """An option that is wrong, and the key by which it was given."""

    def __init__(self, key: str, text: str) -> None:
        super().__init__(text)
        self.key = key

    def __reduce__(self) -> Any:
        return type(self), (self.key, str(self))


class Options(BaseModel):
    """Options that belong together, each with a type, a range, a default and a line of documentation.

    Whatever is wrong is an `InputError` that names the key, what was found and what is expected. Lists become tuples.

    >>> from pydantic import Field
    >>> class Cut(Options):
    ...     section = "episode"
    ...     tasks: int = Field(4, ge=1, description="tasks that a batch is cut into")
    >>> Cut(tasks=2).replace(tasks=3)
    Cut(tasks=3)
    >>> Cut(tasks=0)
    Traceback (most recent call last):
    metatc2.io.options.base.WrongOption: episode.tasks must be a whole number ≥ 1, found 0
    """

    model_config = ConfigDict(
        strict=True,
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        str_min_length=1,
        str_max_length=LONGEST_TEXT,
        protected_namespaces=(),
    )
    #: What stands before the dot of its keys.
    section: ClassVar[str] = ""

    if not TYPE_CHECKING:  # a type checker reads the arguments from the fields

        def __init__(self, **values: Any) -> None:
            try:
                super().__init__(**values)
            except ValidationError as error:
                raise WrongOption(*sentence(error, type(self), self.section)) from None

    @classmethod
    def made(cls, values: Mapping[str, Any], section: str) -> Self:
        """The options of these values, where keys have another name in errors.

        Args:
            values: by field.
            section: what stands before the dot.

        Raises:
            InputError: naming the key, what was found and what is expected.
        """
        made = cls.__new__(cls)
        try:
            cls.__pydantic_validator__.validate_python(dict(values), self_instance=made)
        except ValidationError as error:
            raise WrongOption(*sentence(error, cls, section)) from None
        return made

    def replace(self, **changes: Any) -> Self:
        """The same with other values, checked again; what was not chosen stays unchosen.

        Raises:
            InputError: as where it is made.
        """
        return type(self)(**{**{name: getattr(self, name) for name in self.model_fields_set}, **changes})

    def beyond(self, base: type[Options]) -> dict[str, Any]:
        """Values of the options that `base` does not have.

        >>> from metatc2.objectives import ObjectiveOptions, objective_options
        >>> objective_options("simclr")(temperature=0.2).beyond(ObjectiveOptions)
        {'temperature': 0.2}
        """
        return {name: getattr(self, name) for name in type(self).model_fields if name not in base.model_fields}

    @field_validator("*", mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        """What TOML gives: its lists are tuples here; no path holds a NUL."""
        if isinstance(value, list):
            value = tuple(value)
        if isinstance(value, tuple) and len(value) > MOST_ITEMS:
            raise PydanticCustomError(
                SAID, "{text}", {"text": f"can have at most {MOST_ITEMS} items, found {len(value)}"}
            )
        for text in value if isinstance(value, tuple) else (value,):
            if isinstance(text, str) and "\0" in text:
                raise PydanticCustomError(SAID, "{text}", {"text": f"must be text, found {shown(text)}"})
        return value

"""The one place where what pydantic finds wrong becomes a sentence."""

from __future__ import annotations

from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from metatc2.errors import nearest
from metatc2.io.options.types import SAID
from metatc2.io.options.words import describe, shown
from metatc2.io.plain_text import brief


def hint_of(info: FieldInfo) -> Any:
    """The type of a field with its annotations.

    >>> from pydantic import Field
    >>> class Model(BaseModel):
    ...     tasks: int = Field(4, ge=1)
    >>> describe(hint_of(Model.model_fields["tasks"]))
    'a whole number ≥ 1'
    """
    return Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation


def sentence(error: ValidationError, kind: type[BaseModel], section: str) -> tuple[str, str]:
    """The key that is wrong, and a sentence about it: the key, what was found, what is expected.

    Args:
        error: what pydantic found; the first of it is said.
        kind: of what was to be made.
        section: what stands before the dot of its keys.
    """
    first = error.errors(include_url=False)[0]
    problem, place = first["type"], first["loc"]
    if not place or problem == "value_error":  # of several keys together, in a sentence of its own
        return section, str(first.get("ctx", {}).get("error", first["msg"]))
    field, *rest = place
    key = f"{section}.{field}" if section else str(field)
    if problem == "extra_forbidden":
        return key, f"unknown key {brief(key)!r}; {nearest(str(field)[:100], kind.model_fields)}"
    hint = hint_of(kind.model_fields[str(field)])
    if rest and problem != "missing":  # of one item: what is wrong with a list as a whole has no place in it
        hint, what = _item(hint), f"each item of {key}"
    else:
        what = key
    told = _about(problem, first, hint)
    if what != key and told.startswith("cannot be "):
        return key, f"no item of {key} can be {told.removeprefix('cannot be ')}"
    return key, f"{what} {told}"


def _about(problem: str, said: Any, hint: Any) -> str:
    value, context = said["input"], said.get("ctx", {})
    if problem == SAID:
        return str(context["text"])
    if problem == "literal_error" and isinstance(value, str) and value:
        choices = _literals(hint)
        if all(isinstance(choice, str) for choice in choices):
            return f"cannot be {shown(value)}; {nearest(value[:100], choices)}"
    if problem == "string_too_long":
        return f"can have at most {context['max_length']} characters, found {len(value)}: {shown(value)}"
    if problem == "too_long" and Ellipsis in get_args(_bare(hint)):
        return f"can have at most {context['max_length']} items, found {len(value)}"
    if problem == "string_too_short" or (isinstance(value, str) and problem == "string_unicode"):
        return f"must be text, found {shown(value)}"
    return f"must be {describe(hint)}, found {shown(value)}"


def _bare(hint: Any) -> Any:
    """Without annotations and without None."""
    if get_origin(hint) is Annotated:
        return _bare(get_args(hint)[0])
    if type(None) in get_args(hint):
        return _bare(next(arg for arg in get_args(hint) if arg is not type(None)))
    return hint


def _item(hint: Any) -> Any:
    return next(arg for arg in get_args(_bare(hint)) if arg is not Ellipsis)


def _literals(hint: Any) -> tuple[Any, ...]:
    return get_args(_bare(hint))

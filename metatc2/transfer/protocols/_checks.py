"""Options of a protocol checked by what they are annotated with: ranges and words are said once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, get_args, get_origin

from metatc2.errors import InputError, nearest
from metatc2.io.options import Bounds, Names
from metatc2.io.options.signature import is_sequence, item_of
from metatc2.ops.numbers import real, several, whole


def checked(value: Any, hint: Any, name: str) -> Any:
    """A value as its type says: numbers are Python's and within their range, words among those that are known.

    Args:
        value: what was given.
        hint: int, float or str, annotated with a range or `Names` or not, or a sequence of them; of any other type the value
            is returned as it is.
        name: what errors call it, with its place.

    Raises:
        InputError: if it is another type's, out of range or no such word.

    >>> from collections.abc import Sequence
    >>> from pydantic import Field
    >>> checked([1, 5], Sequence[Annotated[int, Field(ge=1)]], "transfer: shots")
    (1, 5)
    >>> checked([0], Sequence[Annotated[int, Field(ge=1)]], "transfer: shots")
    Traceback (most recent call last):
    metatc2.errors.InputError: each of transfer: shots must be at least 1, got 0
    """
    said: tuple[Any, ...] = ()
    if get_origin(hint) is Annotated:
        hint, *more = get_args(hint)
        said = tuple(more)
    if is_sequence(hint):
        return _each(value, item_of(hint), name)
    bounds = Bounds.of(said)
    if hint is int:
        return whole(value, name, None if bounds.at_least is None else int(bounds.at_least))
    if hint is float:
        return real(value, name, least=bounds.at_least, above=bounds.above, most=bounds.at_most, below=bounds.below)
    for words in (part for part in said if isinstance(part, Names)):
        if value not in words:
            raise InputError(f"{name} cannot be {value!r}; {nearest(str(value), words)}")
    return value


def _each(values: Any, hint: Any, name: str) -> tuple[Any, ...]:
    bare = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    if bare in (int, float):
        values = several(values, name)
    elif isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise InputError(f"{name} must be a list, got {values!r}")
    return tuple(checked(value, hint, f"each of {name}") for value in values)

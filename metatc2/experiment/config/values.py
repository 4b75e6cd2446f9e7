"""What a value of a configuration may be: one converter a kind of type hint, and the words for what was expected."""

from __future__ import annotations

import json
import math
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from metatc2.errors import InputError, nearest
from metatc2.io.plain_text import brief
from metatc2.io.reading import DEEPEST
from metatc2.io.registry import Registry

CEILING = 10**9  # of a number without an upper bound of its own
LONGEST_TEXT = 4096  # characters: as long as a path can be
MOST_ITEMS = 1024  # of a list

SCALARS: dict[type, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


@dataclass(frozen=True)
class Bounds:
    """The range of a number (of each number, in a list).

    >>> str(Bounds(at_least=1)), 0 in Bounds(at_least=1), str(Bounds(above=0, below=1))
    ('≥ 1', False, '> 0 and < 1')
    >>> 10**12 in Bounds(at_least=1, ceiling=10**6)
    True
    """

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    # Beyond it no machine or no format of numbers can follow; of no interest to who reads what a key accepts.
    ceiling: float | None = None

    def __contains__(self, number: float) -> bool:
        return (
            (self.at_least is None or number >= self.at_least)
            and (self.above is None or number > self.above)
            and (self.at_most is None or number <= self.at_most)
            and (self.below is None or number < self.below)
        )

    def __str__(self) -> str:
        limits = (("≥", self.at_least), (">", self.above), ("≤", self.at_most), ("<", self.below))
        return " and ".join(f"{sign} {limit:.10g}" for sign, limit in limits if limit is not None)


@dataclass(frozen=True, eq=False)
class Names:
    """The texts that a key takes, as ``Annotated[str, Names(...)]``: what is registered, and words that mean something else.

    A word of the latter may end in a place too, as ``torchvision:NAME`` does.

    >>> from metatc2.io.registries import REGULARIZERS
    >>> list(Names(REGULARIZERS, ("none",)))
    ['none', 'isotropy', 'sigreg', 'visreg']
    """

    registry: Registry[Any]
    also: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[str]:
        return iter((*self.also, *self.registry))

    def __contains__(self, text: str) -> bool:
        kind, colon, rest = text.partition(":")
        if text in self.also or (colon and rest and any(name.startswith(f"{kind}:") for name in self.also)):
            return True
        try:
            return bool(self.registry.resolve(text))
        except InputError:
            return False


def setting(
    default: Any,
    doc: str,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    ceiling: float | None = None,
) -> Any:
    """A dataclass field with its one-line documentation and its range; a callable default is a factory.

    `ceiling` is the largest value that can work anywhere. Without one a number is taken up to 10⁹.

    >>> setting(4, "tasks an episode", at_least=1).metadata["doc"]
    'tasks an episode'
    """
    if ceiling is None and at_most is None and below is None:
        ceiling = CEILING
    metadata = {"doc": doc, "bounds": Bounds(at_least, above, at_most, below, ceiling)}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


def show(value: object) -> str:
    """A value as a user would write it in TOML.

    >>> show(True), show("a"), show((1, 5))
    ('true', '"a"', '[1, 5]')
    """
    return json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "backslashreplace").decode()


def shown(value: object) -> str:
    """As `show`, short enough for a sentence about what was found.

    >>> shown("a" * 1000)
    '"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"'
    >>> shown(10**5000), shown([[]])
    ('a number of over 4300 digits', '[[]]')
    """
    if isinstance(value, str):
        value = value if len(value) <= 200 else value[:100] + "…" + value[-100:]
    try:
        return brief(show(value))
    except RecursionError:
        return DEEPEST
    except ValueError:  # Python writes whole numbers of at most 4300 digits
        return "a number of over 4300 digits"


def is_optional(hint: object) -> bool:
    """Whether a hint allows ``None``.

    >>> is_optional(int | None), is_optional(int)
    (True, False)
    """
    return type(None) in get_args(hint)


def describe(hint: Any, bounds: Bounds) -> str:
    """What a key of this type accepts, in words.

    >>> describe(int | None, Bounds(at_least=1)), describe(tuple[int, ...], Bounds())
    ('a whole number ≥ 1', 'a list, each item a whole number')
    """
    args = [arg for arg in get_args(hint) if arg not in (Ellipsis, type(None))]
    origin = get_origin(hint)
    if origin is Annotated:
        return "one of " + ", ".join(show(name) for name in args[1])
    if origin in (Union, types.UnionType):
        return describe(args[0], bounds)
    if origin is Literal:
        return "one of " + ", ".join(show(arg) for arg in args)
    if origin is tuple:
        counted = "a list" if Ellipsis in get_args(hint) else f"a list of {len(args)}"
        return f"{counted}, each item {describe(args[0], bounds)}"
    if origin is not None:
        return f"a table of names, each {describe(args[1], bounds)}"
    return f"{SCALARS[hint]} {bounds}".strip()


def is_text(hint: object) -> bool:
    """Whether a hint is of text, also if that may be unset.

    >>> is_text(str | None), is_text(int), is_text(tuple[str, ...])
    (True, False, False)
    """
    if get_origin(hint) in (Union, types.UnionType):
        return any(is_text(arg) for arg in get_args(hint))
    return hint is str or get_origin(hint) is Annotated


def convert(value: object, hint: Any, bounds: Bounds, key: str) -> Any:
    """The value as its key keeps it: lists become tuples, whole numbers become floats where a float is expected.

    Args:
        value: what TOML or a Python caller gave.
        hint: the field's type: bool, int, float, str, ``Literal``, ``Annotated[str, Names(...)]``, ``tuple``,
            ``Mapping[str, ...]``, or one of them ``| None``.
        bounds: the range of every number in it.
        key: the dotted name that the error message shows.

    Raises:
        InputError: naming the key, the value found and what is expected.

    >>> convert(1, float, Bounds(), "trainer.clip")
    1.0
    >>> convert(0, int, Bounds(at_least=1), "episode.tasks")
    Traceback (most recent call last):
    metatc2.errors.InputError: episode.tasks must be a whole number ≥ 1, found 0
    """
    return _CONVERTERS.get(get_origin(hint), _scalar)(value, hint, bounds, key)


def _refuse(value: object, hint: Any, bounds: Bounds, key: str) -> InputError:
    return InputError(f"{key} must be {describe(hint, bounds)}, found {shown(value)}")


def _scalar(value: object, hint: Any, bounds: Bounds, key: str) -> Any:
    # bool is a subclass of int in Python and never a number in TOML, hence `type(...) is`.
    if hint is float and type(value) is int and abs(value) <= 2**53:
        value = float(value)
    if type(value) is not hint or value == "" or (isinstance(value, str) and not _can_be_kept(value)):
        raise _refuse(value, hint, bounds, key)
    if isinstance(value, float) and not math.isfinite(value):
        raise _refuse(value, hint, bounds, key)
    if isinstance(value, (int, float)) and value not in bounds:
        raise _refuse(value, hint, bounds, key)
    if isinstance(value, (int, float)) and bounds.ceiling is not None and value > bounds.ceiling:
        raise InputError(f"{key} can be at most {bounds.ceiling:.10g}, found {shown(value)}")
    if isinstance(value, str) and len(value) > LONGEST_TEXT:
        raise InputError(f"{key} can have at most {LONGEST_TEXT} characters, found {len(value)}: {shown(value)}")
    return value


def _can_be_kept(text: str) -> bool:
    # A command line with undecodable bytes arrives as lone surrogates, which no TOML file can hold; no path holds a NUL.
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def _optional(value: object, hint: Any, bounds: Bounds, key: str) -> Any:
    (inner,) = (arg for arg in get_args(hint) if arg is not type(None))
    return None if value is None else convert(value, inner, bounds, key)


def _choice(value: object, hint: Any, bounds: Bounds, key: str) -> Any:
    choices = get_args(hint)
    for choice in choices:
        if type(value) is type(choice) and value == choice:
            return choice
    if isinstance(value, str) and all(isinstance(choice, str) for choice in choices):
        raise InputError(f"{key} cannot be {shown(value)}; {nearest(value[:100], choices)}")
    raise _refuse(value, hint, bounds, key)


def _named(value: object, hint: Any, bounds: Bounds, key: str) -> Any:
    kind, names = get_args(hint)
    text: str = _scalar(value, kind, bounds, key) if isinstance(value, str) else ""
    if not text:
        raise _refuse(value, hint, bounds, key)
    if text not in names:
        raise InputError(f"{key} cannot be {shown(text)}; {nearest(text[:100], names)}")
    return text


def _items(value: object, hint: Any, bounds: Bounds, key: str) -> Any:
    args = get_args(hint)
    if not isinstance(value, (list, tuple)):
        raise _refuse(value, hint, bounds, key)
    if Ellipsis not in args and len(value) != len(args):
        raise _refuse(value, hint, bounds, key)
    if len(value) > MOST_ITEMS:
        raise InputError(f"{key} can have at most {MOST_ITEMS} items, found {len(value)}")
    return tuple(convert(item, args[0], bounds, f"each item of {key}") for item in value)


def _table(value: object, hint: Any, bounds: Bounds, key: str) -> Any:
    if not isinstance(value, Mapping):
        raise _refuse(value, hint, bounds, key)
    inner = get_args(hint)[1]
    for name in value:
        convert(name, str, Bounds(), f"each name in {key}")
    return {name: convert(value[name], inner, bounds, f"{key}.{brief(name)}") for name in sorted(value)}


_CONVERTERS: dict[object, Callable[[object, Any, Bounds, str], Any]] = {
    Union: _optional,
    types.UnionType: _optional,
    Literal: _choice,
    Annotated: _named,
    tuple: _items,
    Mapping: _table,
}

"""Words about a value: how it is written, and what was expected in its place."""

from __future__ import annotations

import json
import types
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt

from metatc2.io.plain_text import brief
from metatc2.io.reading import DEEPEST

SCALARS: dict[type, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


@dataclass(frozen=True)
class Bounds:
    """The range of a number.

    >>> str(Bounds(at_least=1)), str(Bounds(above=0, below=1)), str(Bounds())
    ('≥ 1', '> 0 and < 1', '')
    """

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None

    @classmethod
    def of(cls, metadata: Iterable[Any]) -> Bounds:
        """The range that annotations say.

        >>> Bounds.of([Ge(1), "more"])
        Bounds(at_least=1, above=None, at_most=None, below=None)
        """
        said: dict[str, Any] = {}
        # A range inside of a list is annotated by a field of pydantic, which has it in its own metadata.
        parts = [inner for part in metadata for inner in (part, *getattr(part, "metadata", ()))]
        for part in parts:
            for kind, name, limit in (
                (Ge, "at_least", "ge"),
                (Gt, "above", "gt"),
                (Le, "at_most", "le"),
                (Lt, "below", "lt"),
            ):
                if isinstance(part, kind):
                    said[name] = getattr(part, limit)
        return cls(**said)

    def __str__(self) -> str:
        limits = (("≥", self.at_least), (">", self.above), ("≤", self.at_most), ("<", self.below))
        return " and ".join(f"{sign} {limit:.10g}" for sign, limit in limits if limit is not None)


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


def describe(hint: Any, bounds: Bounds | None = None) -> str:
    """What a value of a type may be, in words.

    Args:
        hint: bool, int, float, str, ``Literal``, ``tuple``, ``Mapping``, a class that says so itself by ``expected()``, what
            is annotated with a range or `Names`, or one of them ``| None``.
        bounds: of what is annotated around it.

    >>> describe(Annotated[int, Ge(1)] | None), describe(tuple[int, ...])
    ('a whole number ≥ 1', 'a list, each item a whole number')
    """
    args = [arg for arg in get_args(hint) if arg not in (Ellipsis, type(None))]
    origin = get_origin(hint)
    if origin is Annotated:
        said = next((part.expected() for part in args[1:] if hasattr(part, "expected")), None)
        own = Bounds.of(args[1:])
        return said or describe(args[0], own if own != Bounds() else bounds)
    if origin in (Union, types.UnionType):
        return describe(args[0], bounds)
    if origin is Literal:
        return "one of " + ", ".join(show(arg) for arg in args)
    if origin is tuple:
        counted = "a list" if Ellipsis in get_args(hint) else f"a list of {len(args)}"
        return f"{counted}, each item {describe(args[0], bounds)}"
    if hasattr(hint, "expected"):
        words: str = hint.expected()
        return words
    return f"{SCALARS[hint]} {bounds or ''}".strip()


def is_optional(hint: object) -> bool:
    """Whether a hint allows ``None``.

    >>> is_optional(int | None), is_optional(int)
    (True, False)
    """
    if get_origin(hint) is Annotated:
        return is_optional(get_args(hint)[0])
    return type(None) in get_args(hint)


def is_list(hint: object) -> bool:
    """Whether a hint is of a list, also if that may be unset.

    >>> is_list(tuple[int, ...]), is_list(tuple[float, float] | None), is_list(str)
    (True, True, False)
    """
    if get_origin(hint) in (Union, types.UnionType):
        return any(is_list(arg) for arg in get_args(hint))
    if get_origin(hint) is Annotated:
        return is_list(get_args(hint)[0])
    return get_origin(hint) is tuple


def is_text(hint: object) -> bool:
    """Whether a hint is of text, also if that may be unset.

    >>> is_text(str | None), is_text(int), is_text(tuple[str, ...]), is_text(Literal["a"])
    (True, False, False, False)
    """
    if get_origin(hint) in (Union, types.UnionType):
        return any(is_text(arg) for arg in get_args(hint))
    if get_origin(hint) is Annotated:
        return is_text(get_args(hint)[0])
    return hint is str

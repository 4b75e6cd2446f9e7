"""Options of a class that is chosen by its name, read from its constructor."""

from __future__ import annotations

import functools
import inspect
import operator
import re
import types
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import Field, create_model

from metatc2.io.options.base import Options
from metatc2.io.options.errors import hint_of
from metatc2.io.options.types import Ceiling

Base = TypeVar("Base", bound=Options)


def options_like(
    kind: Callable[..., Any] | None,
    base: type[Base],
    *,
    name: str | None = None,
    usual: Mapping[str, Any] = types.MappingProxyType({}),
) -> type[Base]:
    """The options that a constructor takes: its arguments with a default that are numbers, words of a choice or switches.

    A number may be annotated with its range, ``Annotated[float, Gt(0)]``.

    Args:
        kind: the class; the line of an argument in its docstring (``Args:``) documents the option. None has no arguments.
        base: what the options are; a field of its own goes before an argument of the same name.
        name: by which the class is chosen; the only value of the field ``name``.
        usual: defaults that differ from those of the class or of the base.

    >>> class Pull:
    ...     '''A pull.
    ...
    ...     Args:
    ...         strength: how strong it is.
    ...     '''
    ...
    ...     def __init__(self, strength: float = 2.0, generator: object = None) -> None: ...
    >>> options = options_like(Pull, Options, name="pull")
    >>> options(), options.model_fields["strength"].description
    (PullOptions(name='pull', strength=2.0), 'how strong it is')
    """
    return _options_like(kind, base, name, tuple(usual.items()))


@functools.cache
def _options_like(
    kind: Callable[..., Any] | None, base: type[Base], name: str | None, usual: tuple[tuple[str, Any], ...]
) -> type[Base]:
    changed, fields = dict(usual), dict[str, Any]()
    if name is not None:
        known = base.model_fields.get("name")
        fields["name"] = (Literal[name], Field(name, description=known.description if known else None))
    for key in changed.keys() & base.model_fields.keys():
        info = base.model_fields[key]
        fields[key] = (hint_of(info), Field(changed[key], description=info.description))
    if kind is not None:
        fields |= _arguments(kind, base, changed)
    title = f"{kind.__name__}Options" if kind else base.__name__
    create: Callable[..., Any] = create_model
    made = create(title, __base__=(_Derived, base), **fields)
    made.source = (kind, base, name, usual)
    derived: type[Base] = made
    return derived


def _arguments(kind: Callable[..., Any], base: type[Options], usual: Mapping[str, Any]) -> dict[str, Any]:
    hints, lines = _hints(kind), documented(inspect.getdoc(kind) or "")
    fields = {}
    for key, parameter in inspect.signature(kind).parameters.items():
        hint, default = hints.get(key, type(parameter.default)), usual.get(key, parameter.default)
        if default is not parameter.empty and key not in base.model_fields and _simple(hint):
            doc = lines.get(key, f"{key.replace('_', ' ')} of {getattr(kind, 'name', kind.__name__)}")
            fields[key] = (_limited(hint), Field(default, description=doc))
    return fields


class _Derived(Options):
    """Options of a class that is made anew in every process: what is pickled is how."""

    source: ClassVar[tuple[Any, ...]] = ()

    def __reduce__(self) -> Any:
        return _again, (*self.source, {name: getattr(self, name) for name in self.model_fields_set})


def _again(kind: Any, base: type[Options], name: str | None, usual: Any, values: Mapping[str, Any]) -> Options:
    made: Options = _options_like(kind, base, name, usual)(**values)
    return made


def documented(text: str) -> dict[str, str]:
    """What the section ``Args:`` of a docstring says of each argument, its first sentence.

    >>> documented("About.\\n\\nArgs:\\n    a, b: two numbers; see\\n        there. More.\\n\\nRaises:\\n    X: never.")
    {'a': 'two numbers; see there', 'b': 'two numbers; see there'}
    """
    section = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n(?=[ \t]))*)", text, re.MULTILINE)
    sentences: dict[str, str] = {}
    for entry in re.split(r"^ {4}(?=\S)", section[1] if section else "", flags=re.MULTILINE):
        names, colon, words = entry.partition(":")
        if colon:
            said = re.sub(r"\s+", " ", words).strip().partition(". ")[0].rstrip(".")
            sentences.update({name.strip("* "): said for name in names.split(",")})
    return sentences


def _hints(kind: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(kind.__init__ if inspect.isclass(kind) else kind, include_extras=True)
    except (NameError, TypeError):  # names that are there for a type checker alone
        return {}


def _simple(hint: Any) -> bool:
    if get_origin(hint) is Annotated:
        return _simple(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        return all(_simple(arg) or arg is type(None) for arg in get_args(hint))
    if get_origin(hint) is Literal:
        return all(isinstance(arg, str) for arg in get_args(hint))
    return hint in (bool, int, float)


def _limited(hint: Any) -> Any:
    """The same with a ceiling on every number."""
    if get_origin(hint) is Annotated:
        plain, *said = get_args(hint)
        return Annotated[plain, *said, Ceiling()] if plain in (int, float) else hint
    if get_origin(hint) in (Union, types.UnionType):
        limited = [_limited(arg) for arg in get_args(hint)]
        return functools.reduce(operator.or_, limited[1:], limited[0])
    return Annotated[hint, Ceiling()] if hint in (int, float) else hint

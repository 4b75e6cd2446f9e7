"""Options of a class that is chosen by its name, read from its constructor."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import operator
import re
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import Field, create_model

from metatc2.io.options.base import Options
from metatc2.io.options.errors import hint_of
from metatc2.io.options.types import Ceiling

Base = TypeVar("Base", bound=Options)
#: Metadata of a dataclass field that is no option: whoever runs the object hands it over.
NO_OPTION: Mapping[str, bool] = types.MappingProxyType({"option": False})


def options_like(
    kind: Callable[..., Any] | None,
    base: type[Base],
    *,
    name: str | None = None,
    section: str | None = None,
    usual: Mapping[str, Any] = types.MappingProxyType({}),
) -> type[Base]:
    """The options that a constructor takes: its arguments with a default that are numbers, text, switches or lists of them.

    A number may be annotated with its range, ``Annotated[float, Gt(0)]``.

    Args:
        kind: the class; the line of an argument in its docstring (``Args:``) documents the option, and a range is what it is
            annotated with. A field of a dataclass whose metadata are `NO_OPTION` is none. None has no arguments.
        base: what the options are; a field of its own goes before an argument of the same name.
        name: by which the class is chosen; the only value of the field ``name``.
        section: what stands before the dot of the keys, where it is not as for the base.
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
    return _options_like(kind, base, name, section, tuple(usual.items()))


@functools.cache
def _options_like(
    kind: Callable[..., Any] | None,
    base: type[Base],
    name: str | None,
    section: str | None,
    usual: tuple[tuple[str, Any], ...],
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
    made.source, made.section = (kind, base, name, section, usual), section or base.section
    derived: type[Base] = made
    return derived


def _arguments(kind: Callable[..., Any], base: type[Options], usual: Mapping[str, Any]) -> dict[str, Any]:
    hints, lines = hints_of(kind), documented(inspect.getdoc(kind) or "")
    fields = {}
    for key, default in _defaults(kind):
        hint, default = hints.get(key, type(default)), usual.get(key, default)
        if key not in base.model_fields and _simple(hint):
            doc = lines.get(key, f"{key.replace('_', ' ')} of {getattr(kind, 'name', kind.__name__)}")
            fields[key] = (_limited(hint), Field(default, description=doc))
    return fields


def _defaults(kind: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    """Arguments that have a default, with it, but for fields that are no options."""
    fields = {own.name: own for own in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else {}
    for key, parameter in inspect.signature(kind).parameters.items():
        own = fields.get(key)
        if parameter.default is parameter.empty or (own is not None and not own.metadata.get("option", True)):
            continue
        default = parameter.default
        if own is not None and own.default_factory is not dataclasses.MISSING:
            default = own.default_factory()
        yield key, default


class _Derived(Options):
    """Options of a class that is made anew in every process: what is pickled is how."""

    source: ClassVar[tuple[Any, ...]] = ()

    def __reduce__(self) -> Any:
        return _again, (*self.source, {name: getattr(self, name) for name in self.model_fields_set})


def _again(
    kind: Any, base: type[Options], name: str | None, section: str | None, usual: Any, values: Mapping[str, Any]
) -> Options:
    made: Options = _options_like(kind, base, name, section, usual)(**values)
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


@functools.lru_cache(maxsize=256)  # every object that checks its own options asks for them
def hints_of(kind: Callable[..., Any]) -> Mapping[str, Any]:
    """Types of the arguments of a constructor with their annotations, as far as names in them are known."""
    try:
        # Fields that a dataclass inherits are written in the words of the module that they stand in.
        own = kind.__init__ if inspect.isclass(kind) and not dataclasses.is_dataclass(kind) else kind
        return get_type_hints(own, include_extras=True)
    except (NameError, TypeError):  # names that are there for a type checker alone
        return {}


def _simple(hint: Any) -> bool:
    if get_origin(hint) is Annotated:
        return _simple(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        return all(_simple(arg) or arg is type(None) for arg in get_args(hint))
    if get_origin(hint) is Literal:
        return all(isinstance(arg, str) for arg in get_args(hint))
    if is_sequence(hint):
        return _simple(item_of(hint))
    return hint in (bool, int, float, str)


def is_sequence(hint: Any) -> bool:
    """Whether a hint is of any number of things of one kind.

    >>> is_sequence(Sequence[int]), is_sequence(tuple[int, ...]), is_sequence(tuple[int, int]), is_sequence(str)
    (True, True, False, False)
    """
    args = get_args(hint)
    return (get_origin(hint) is Sequence and len(args) == 1) or (get_origin(hint) is tuple and args[1:] == (Ellipsis,))


def item_of(hint: Any) -> Any:
    """The type of what a list holds."""
    return get_args(hint)[0]


def _limited(hint: Any) -> Any:
    """The same with a ceiling on every number; lists as they are read."""
    if get_origin(hint) is Annotated:
        inner, *said = get_args(hint)
        return Annotated[_limited(inner), *said]
    if get_origin(hint) in (Union, types.UnionType):
        limited = [_limited(arg) for arg in get_args(hint)]
        return functools.reduce(operator.or_, limited[1:], limited[0])
    if is_sequence(hint):
        lists: Any = tuple
        return lists[_limited(item_of(hint)), ...]
    return Annotated[hint, Ceiling()] if hint in (int, float) else hint

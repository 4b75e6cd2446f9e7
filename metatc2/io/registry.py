"""Registries: the only lists of names. What is registered is found by name, and imported when it is asked for."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property, lru_cache
from importlib import import_module
from importlib.metadata import Distribution, EntryPoint, distributions, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Generic, TypeVar

from metatc2.errors import InputError, cause_of, kind_of, nearest
from metatc2.io.plain_text import brief, visible

_NAME = re.compile(r"[a-z][a-z0-9_+-]*(:[A-Z]+)?")

T = TypeVar("T")
Kind = TypeVar("Kind", bound=type)


class Registry(Mapping[str, T], Generic[T]):
    """Things of one kind by name: those of a package's own files, of installed packages, and of the running program.

    A file of the package registers with the decorator, ``@register_objective("simclr")``; names are read from the files' text,
    so that listing them imports nothing. An installed package adds to the entry points of the group: the entry's name is the
    name here, its value what is loaded for it. A name may end in a place for a word of the user's, as ``folder:PATH`` does.

    Args:
        kind: what one of them is, for errors, e.g. ``"objective"``.
        package: whose files register, those of subpackages included, e.g. ``"metatc2.objectives"``; also the group of the
            entry points.
        decorator: name of the decorator in those files, e.g. ``"register_objective"``.
        base: name of the class in the package's ``base.py`` that classes of other packages must derive from, e.g.
            ``"Objective"``; empty where any function or class will do.

    >>> from metatc2.objectives.registry import OBJECTIVES
    >>> "simclr" in OBJECTIVES, OBJECTIVES["simclr"].__name__
    (True, 'SimCLR')
    >>> OBJECTIVES["simclrs"]
    Traceback (most recent call last):
    metatc2.errors.InputError: unknown objective 'simclrs'; did you mean 'simclr'? Known: barlow, byol, colorization, ...
    """

    def __init__(self, kind: str, package: str, decorator: str, *, base: str = "") -> None:
        self.kind = kind
        self._base = base
        self._package = package
        self._decorator = decorator
        self._there: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that registers what it is put on.

        Args:
            name: lower case letters, digits and ``-``, ``_``, ``+``, beginning with a letter; ``:WORD`` may follow, which
                stands for what a user writes there.

        Raises:
            InputError: if the name cannot be one, or is another's already.
        """
        if not _NAME.fullmatch(name):
            raise InputError(
                f"{self.kind} {name!r} cannot be a name: take lower case letters, digits, '-', '_' and '+', a letter first; "
                "':PATH' or another word in capitals may follow"
            )

        def registered(thing: T) -> T:
            # A module that is imported again registers the same thing anew.
            taken = _place(self._there[name]) if name in self._there else self._own.get(name)
            if taken is None and name in self._elsewhere:
                taken = self._elsewhere[name].value.partition(":")[0]
            if taken is not None and taken not in (_place(thing), getattr(thing, "__module__", "")):
                raise InputError(f"{self.kind} {name!r} is registered already, by {taken}; choose another name")
            self._there[name] = thing
            return thing

        return registered

    def register_class(self, name: str) -> Callable[[Kind], Kind]:
        """As `register`, for classes that know their name: it becomes the class's attribute ``name``."""

        def registered(kind: Kind) -> Kind:
            kind.name = name  # type: ignore[attr-defined]
            self.register(name)(kind)  # type: ignore[arg-type]  # of the kind that the registry is of
            return kind

        return registered

    def __getitem__(self, name: str) -> T:
        """What is registered by a name.

        Raises:
            InputError: if it is unknown, the package that offers it cannot be imported or offers something else by it, or
                several offer it.
        """
        if name not in self._there and name in self._own:
            import_module(self._own[name])
        elif name not in self._there and name in self._elsewhere:
            self._there[name] = self._loaded(self._elsewhere[name])
        if name not in self._there:
            raise InputError(f"unknown {self.kind} {name!r}; {nearest(name, tuple(self))}")
        return self._there[name]

    def loadable(self) -> Iterator[str]:
        """Names of all that can be loaded: a package that is broken leaves what others offer as it is."""
        for name in self:
            with suppress(InputError):
                self[name]
                yield name

    def module_of(self, name: str) -> str:
        """The module in which a name is registered; nothing is imported for it. Empty where there is no such name.

        >>> from metatc2.io.registries import ENCODERS
        >>> ENCODERS.module_of("conv4")
        'metatc2.models.conv4'
        """
        if name in self._there:
            return str(getattr(self._there[name], "__module__", ""))
        own = self._own.get(name)
        if own is None and name in self._elsewhere:
            return self._elsewhere[name].value.partition(":")[0]
        return own or ""

    def resolve(self, text: str) -> tuple[str, str]:
        """The registered name that a user's text means, and what stands in the place that the name ends in.

        Args:
            text: e.g. ``"digits"`` or ``"folder:photos"``.

        Returns:
            E.g. ``("digits", "")``, ``("folder:PATH", "photos")``.

        Raises:
            InputError: if there is no such name, or the place is left empty.

        >>> from metatc2.io.registries import SOURCES
        >>> SOURCES.resolve("digits"), SOURCES.resolve("folder:C:/birds")
        (('digits', ''), ('folder:PATH', 'C:/birds'))
        >>> SOURCES.resolve("folder:")
        Traceback (most recent call last):
        metatc2.errors.InputError: source 'folder:' lacks its path; write folder:PATH
        """
        kind, colon, rest = text.partition(":")
        place = next((name for name in self if name.startswith(f"{kind}:")), None) if colon else None
        if place is not None and rest:
            return place, rest
        if place is not None:
            raise InputError(f"{self.kind} {text!r} lacks its {place.partition(':')[2].lower()}; write {place}")
        if colon or text not in self:
            raise InputError(f"unknown {self.kind} {text!r}; {nearest(text.lower(), tuple(self))}")
        return text, ""

    def __contains__(self, name: object) -> bool:
        return name in self._there or name in self._own or name in self._elsewhere

    def __iter__(self) -> Iterator[str]:
        return iter({**dict.fromkeys(self._own), **dict.fromkeys(self._elsewhere), **dict.fromkeys(self._there)})

    def __repr__(self) -> str:
        return f"<registry: {self.kind}>"

    def __len__(self) -> int:
        return len(list(iter(self)))

    @cached_property
    def _own(self) -> dict[str, str]:
        """Modules of the package by the names that they register, in alphabetical order of both."""
        # Of the outermost package alone: looking for an inner one imports those around it.
        outermost, *inner = self._package.split(".")
        spec = find_spec(outermost)
        pattern = re.compile(rf'^@?{self._decorator}\(\s*"([^"]+)"', re.MULTILINE)
        modules = {}
        for place in (spec.submodule_search_locations or ()) if spec else ():
            folder = Path(place, *inner)
            for file in sorted(folder.rglob("*.py")):
                parts = file.relative_to(folder).with_suffix("").parts
                module = ".".join((self._package, *(part for part in parts if part != "__init__")))
                modules.update(dict.fromkeys(pattern.findall(file.read_text(encoding="utf-8")), module))
        return dict(sorted(modules.items()))

    @property
    def _elsewhere(self) -> dict[str, EntryPoint]:
        """Of several offers of a name the first; names that none can have are passed over."""
        points = _offered(tuple(sys.path), self._package)
        named = [point for point in points if point.name not in self._own and _NAME.fullmatch(point.name)]
        # The first comes last, and all stay in their order.
        return {**{point.name: point for point in named}, **{point.name: point for point in reversed(named)}}

    def _loaded(self, point: EntryPoint) -> T:
        owners = {p.value: _owner(p) for p in _offered(tuple(sys.path), self._package) if p.name == point.name}
        if len(owners) > 1:
            raise InputError(
                f"{self.kind} {point.name!r} is offered by the packages {' and '.join(sorted(owners.values()))}; remove one"
            )
        offered = f"{self.kind} {point.name!r} is offered by the package {_owner(point)} and"
        try:
            entry: T = point.load()
            base = getattr(import_module(f"{self._package}.base"), self._base) if self._base else None
        except (Exception, SystemExit) as error:  # a module may do anything when it is imported
            why = f"{type(error).__name__}: {brief(str(error), 200)}"
            raise InputError(
                f"{offered} cannot be loaded from {point.value} ({why}); repair or remove that package"
            ) from error
        right = callable(entry) if base is None else isinstance(entry, type) and issubclass(entry, base)
        if not right:
            expected = "a function or class" if base is None else f"a subclass of {base.__name__}"
            raise InputError(
                f"{offered} is {kind_of(entry)} ({point.value}), not {expected}; repair or remove that package"
            )
        return entry


@lru_cache(maxsize=64)
def _offered(path: tuple[str, ...], group: str) -> tuple[EntryPoint, ...]:
    """Entry points of installed packages, kept for each search path: finding them reads a file a package."""
    try:
        return tuple(entry_points(group=group))
    except Exception:  # a list that is malformed, of whichever package: those of the others are read
        return tuple(point for package in distributions() for point in _points_of(package, group))


def _points_of(package: Distribution, group: str) -> tuple[EntryPoint, ...]:
    try:
        return tuple(package.entry_points.select(group=group))
    except Exception as error:
        warnings.warn(
            f"the package {visible(str(package.name))} has a list of entry points that cannot be read ({cause_of(error)}); "
            "what it offers is passed over, so repair or remove it",
            stacklevel=2,
        )
        return ()


def _owner(point: EntryPoint) -> str:
    return point.dist.name if point.dist else point.value


def _place(thing: object) -> str:
    return f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', repr(thing))}"

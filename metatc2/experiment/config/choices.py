"""Which members a section has, and which of them acts: the kinds of tagged unions of the configuration."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, get_args, get_origin

from metatc2.errors import InputError, nearest_registered
from metatc2.io.options import Options, shown
from metatc2.io.registry import Registry

LEARNER = "learner.name"
SSL = "ssl"
# Of a run that a program of the user's own has trained: sections that say how it was trained do not act.
PYTHON = "python"
LABELED = "one on labeled tasks"
# The value of a key that has been given; None of one that has not.
Given = Callable[[str], object]
# The values of all tags that act, by key; of a key that is a list, all of it.
Now = dict[str, Any]


@dataclass(frozen=True)
class Member:
    """A model of a section, and the keys with the values under which it acts; of a key that is a list, one of its values."""

    kind: type[Options]
    tags: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, kind: type[Options], **tags: str) -> Member:
        """A model whose fields of one possible value are its tags.

        >>> from metatc2.experiment.config import TaskTC2Config
        >>> Member.of(TaskTC2Config, learner=SSL).tags
        {'learner.name': 'ssl', 'calibration.name': 'tc2', 'calibration.adapt': 'task'}
        """
        return cls(kind, {**({LEARNER: tags["learner"]} if tags else {}), **_own_tags(kind)})


@lru_cache(maxsize=256)
def _own_tags(kind: type[Options]) -> Mapping[str, str]:
    """The fields of one possible value, with it; kept, as each value that is laid over a configuration asks for them."""
    return {
        f"{kind.section}.{name}": get_args(info.annotation)[0]
        for name, info in kind.model_fields.items()
        if get_origin(info.annotation) is Literal and len(get_args(info.annotation)) == 1
    }


class WrongTag(InputError):
    """A value that is no tag of a section's members, or one of a member that cannot act."""

    def __init__(self, key: str, text: str, elsewhere: bool = False) -> None:
        super().__init__(text)
        self.key, self.elsewhere = key, elsewhere


class Choice(ABC):
    """The members of one section."""

    @abstractmethod
    def members(self) -> Iterator[Member]:
        """All of them, those of installed packages included."""

    @abstractmethod
    def pick(self, given: Given) -> Member | None:
        """The one that acts; None where nothing of the section does.

        Raises:
            WrongTag: if a given value is that of no member that can act.
        """

    def written(self, section: Options) -> bool:
        """Whether a section that acts is part of what is written and compared; one that adds nothing need not be."""
        return True

    def default(self) -> Options:
        """The section where nothing of it acts."""
        member = self.pick(lambda key: None)
        assert member is not None
        return member.kind()


@dataclass(frozen=True)
class Closed(Choice):
    """Members that are known: of an objective, and of a learner on labeled tasks.

    Args:
        ssl, labeled: members of each.
        silent: as in `Registered`, of the first one.
    """

    ssl: tuple[type[Options], ...]
    labeled: tuple[type[Options], ...] = ()
    silent: bool = False

    def members(self) -> Iterator[Member]:
        """See `Choice.members`."""
        if self.ssl == self.labeled:
            return (Member.of(kind) for kind in self.ssl)
        both = [Member.of(kind, learner=SSL) for kind in self.ssl]
        return iter([*both, *(Member.of(kind, learner=LABELED) for kind in self.labeled)])

    def pick(self, given: Given) -> Member | None:
        """See `Choice.pick`; the first value of a tag is its default."""
        kind = learner_kind(given)
        every = list(self.members())
        left = [member for member in every if member.tags.get(LEARNER, kind) == kind]
        done = {LEARNER}
        while left and (tag := next((tag for tag in left[0].tags if tag not in done), None)):
            done.add(tag)
            value = given(tag)
            here = list(dict.fromkeys(member.tags[tag] for member in left if tag in member.tags))
            if value is not None and value not in here:
                anywhere = list(dict.fromkeys(member.tags[tag] for member in every if tag in member.tags))
                if value in anywhere:
                    use = " or ".join(map(repr, here))
                    learner = given(LEARNER) or SSL
                    text = f"{tag} = {value!r} is for {LEARNER} = {_other(kind)}, and it is {learner!r}; use {use}"
                    raise WrongTag(tag, text, elsewhere=True)
                raise WrongTag(tag, f"{tag} {_not_among(value, anywhere)}")
            left = [member for member in left if member.tags.get(tag) == (value or here[0])]
        return left[0] if left else None

    def written(self, section: Options) -> bool:
        """See `Choice.written`."""
        return not (self.silent and type(section) is self.ssl[0])


@dataclass(frozen=True)
class Registered(Choice):
    """Members by a name that is registered, and some that are not.

    Args:
        tag: the key of the name; the first value is the default.
        registry: of the names.
        options: of a name.
        own: members that are not registered.
        usual: the name by default.
        always: whether it acts for every learner, and not for an objective alone.
        silent: whether it is left out where it is the usual one: a section that came later, without which runs are as they
            were before.
    """

    tag: str
    registry: Registry[Any]
    options: Callable[[str], type[Options]]
    usual: str
    own: tuple[type[Options], ...] = ()
    always: bool = False
    silent: bool = False

    def members(self) -> Iterator[Member]:
        """See `Choice.members`; what cannot be imported has no keys."""
        yield from (self._member(kind) for kind in self.own)
        for name in self.registry:
            with contextlib.suppress(InputError):
                yield self._member(self.options(name))

    def pick(self, given: Given) -> Member | None:
        """See `Choice.pick`."""
        if not self.always and learner_kind(given) != SSL:
            return None
        name = self.usual if given(self.tag) is None else given(self.tag)
        own = {member.tags[self.tag]: member for member in map(self._member, self.own)}
        if isinstance(name, str) and name in own:
            return own[name]
        if not isinstance(name, str) or name not in self.registry:
            raise WrongTag(self.tag, f"{self.tag} {_not_among(name, [*own, *self.registry])}")
        return self._member(self.options(name))

    def written(self, section: Options) -> bool:
        """See `Choice.written`."""
        return not (self.silent and Member.of(type(section)).tags[self.tag] == self.usual)

    def _member(self, kind: type[Options]) -> Member:
        return Member.of(kind) if self.always else Member.of(kind, learner=SSL)


@dataclass(frozen=True)
class Listed(Choice):
    """One member, which acts where its name is in a list.

    Args:
        key: of the list.
        name: that of the member.
        options: of a name.
        usual: the list by default.
    """

    key: str
    name: str
    options: Callable[[str], type[Options]]
    usual: tuple[str, ...]

    def members(self) -> Iterator[Member]:
        """See `Choice.members`; what cannot be imported has no keys."""
        with contextlib.suppress(InputError):
            yield self._member()

    def pick(self, given: Given) -> Member | None:
        """See `Choice.pick`; what is wrong with the list is said of its own key."""
        names = self.usual if given(self.key) is None else given(self.key)
        return self._member() if isinstance(names, list | tuple) and self.name in names else None

    def _member(self) -> Member:
        return Member(self.options(self.name), {self.key: self.name})


def learner_kind(given: Given) -> str:
    """Whether the learner is that of an objective, one on labeled tasks, or of a program of the user's own.

    >>> learner_kind({"learner.name": "maml"}.get), learner_kind({}.get), learner_kind({"learner.name": "python"}.get)
    ('one on labeled tasks', 'ssl', 'python')
    """
    if given(LEARNER) == PYTHON:
        return PYTHON
    return SSL if given(LEARNER) in (None, SSL) else LABELED


def _other(kind: str) -> str:
    return repr(SSL) if kind == LABELED else LABELED


def _not_among(value: object, names: list[str]) -> str:
    if value == "":
        return f"must be text, found {shown(value)}"
    if isinstance(value, str):
        return f"cannot be {shown(value)}; {nearest_registered(value[:100], names)}"
    return f"must be one of {', '.join(shown(name) for name in names)}, found {shown(value)}"

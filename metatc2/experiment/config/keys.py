"""The keys of the configuration: what each accepts, its default and documentation, and where it acts."""

from __future__ import annotations

import contextlib
import difflib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from pydantic_core import PydanticUndefined

from metatc2.errors import InputError
from metatc2.experiment.config.choices import LABELED, PYTHON, SSL, Choice, Member, Now
from metatc2.experiment.config.former import former_key
from metatc2.experiment.config.sections import CHOICES, split_key
from metatc2.io.options import Bounds, Options, describe, show
from metatc2.io.options.errors import hint_of
from metatc2.io.plain_text import brief

LONGEST = 600  # letters of a list of keys


@dataclass(frozen=True, eq=False)
class Key:
    """A key in one member of its section.

    Args:
        name: dotted.
        hint: the type with its range.
        default: where nothing is given.
        doc: one line.
        when: keys with the values under which it acts.
    """

    name: str
    hint: Any
    default: Any
    doc: str
    when: Mapping[str, str] = field(default_factory=dict)

    @property
    def expected(self) -> str:
        """What the key accepts, in words.

        >>> all_keys()["episode.tasks"][0].expected
        'a whole number ≥ 1'
        """
        return describe(self.hint)

    @property
    def bounds(self) -> Bounds:
        """The range of a number."""
        return Bounds.of(getattr(self.hint, "__metadata__", ()))


def nested(kind: type[Options], name: str) -> Any:
    """What a field takes that is chosen by a name and has options of its own, as an adjoint; None of any other field."""
    info = kind.model_fields.get(name)
    annotation = None if info is None else info.annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, Options) else None


def keys_of(member: Member) -> Iterator[Key]:
    """The keys of a member, those of what it chooses by name included."""
    for key, hint, default, doc, chosen in _fields(member.kind):
        if chosen is None:
            yield Key(key, hint, default, doc, member.tags)
            continue
        yield Key(key, hint, default.name, doc, member.tags)
        for word in chosen.names():
            with contextlib.suppress(InputError):  # what cannot be imported has no keys
                for part in keys_of(Member(chosen.named(word))):
                    if part.name != f"{chosen.section}.name":
                        name_there = f"{key}.{part.name.rpartition('.')[2]}"
                        yield replace(part, name=name_there, when={**member.tags, key: word})


@lru_cache(maxsize=256)
def _fields(kind: type[Options]) -> tuple[tuple[str, Any, Any, str, Any], ...]:
    """Of each field its key, type, default, documentation, and what it chooses by a name; kept, as they never change."""
    rows, known = [], dict[str, Any]()
    for name, info in kind.model_fields.items():
        default = info.get_default(call_default_factory=True, validated_data=known)
        known[name] = None if default is PydanticUndefined else default
        key = f"{kind.section}.{name}"
        rows.append((key, hint_of(info), known[name], info.description or "", nested(kind, name)))
    return tuple(rows)


def owners(choice: Choice, name: str) -> Iterator[Key]:
    """A key in every member that has it."""
    return (key for member in choice.members() if _has(member, name) for key in keys_of(member) if key.name == name)


def _has(member: Member, name: str) -> bool:
    return any(name == key or name.startswith(f"{key}.") for key, *_ in _fields(member.kind))


def all_keys() -> dict[str, tuple[Key, ...]]:
    """Every key by its dotted name, in every member that has it.

    >>> [(key.default, key.when["calibration.adapt"]) for key in all_keys()["calibration.gamma"]]
    [(1.0, 'task'), (0.0, 'shared')]
    """
    by_name: dict[str, list[Key]] = {}
    for choice in CHOICES.values():
        for member in choice.members():
            for key in keys_of(member):
                by_name.setdefault(key.name, []).append(key)
    return {name: tuple(keys) for name, keys in by_name.items()}


def unknown_key(name: str, where: str) -> InputError:
    """The error for a key that does not exist; it says what stands for a former one, or names the nearest of all sections.

    >>> print(unknown_key("tasks", "my.toml"))
    my.toml: unknown key 'tasks'; did you mean 'episode.tasks'?
    """
    name = brief(name)
    # Of a key that is no option of an option, what follows its name says nothing about which key was meant.
    inside, field, _ = split_key(name)
    written = f"{inside}.{field}" if "." in name else name
    if now := former_key(written):
        return InputError(f"{where}: there is no key {name!r} any more; {now}")
    known = list(all_keys())
    if "." not in inside:
        known += [section for section in CHOICES if "." in section]
    if written in known:
        deeper = [key for key in known if key.startswith(f"{written}.")]
        if deeper:
            return InputError(f"{where}: unknown key {name!r}; known: {', '.join(dict.fromkeys(deeper))}")
    parts = name.split(".", 3)

    def likeness(other: str, ratio: Callable[[str, str], float]) -> float:
        alike = ".".join(parts[: max(other.count("."), inside.count(".") + 1) + 1])
        by_leaf = ratio(alike.rpartition(".")[2], other.rpartition(".")[2])
        return by_leaf + (ratio(alike, other) if parts[1:] else by_leaf)

    best, most = "", 1.2  # what is less alike is not meant
    for other in [*known, "description"]:
        bound = likeness(other, _common)  # which takes a hundredth of the time, and rules nearly all of them out
        if bound >= most and (bound > most or not best):
            value = likeness(other, _ratio)
            if value > most or (value == most and not best):
                best, most = other, value
    if best:
        return InputError(f"{where}: unknown key {name!r}; did you mean {best!r}?")
    home = inside if "." in name else name
    listed = (
        keys_in(home) if home in CHOICES else f"sections: {', '.join(other for other in CHOICES if '.' not in other)}"
    )
    return InputError(f"{where}: unknown key {name!r}; {listed}")


def _ratio(word: str, other: str) -> float:
    return difflib.SequenceMatcher(None, word, other).ratio()


def _common(word: str, other: str) -> float:
    """What `_ratio` is at most: as many letters in common, in whatever order.

    >>> _common("tasks", "taskz"), _ratio("tasks", "taskz"), _common("tasks", "sksat"), _ratio("tasks", "sksat")
    (0.8, 0.8, 1.0, 0.6)
    """
    ours, theirs = _letters(word), _letters(other)
    both = sum(min(count, theirs[letter]) for letter, count in ours.items() if letter in theirs)
    return 2.0 * both / (len(word) + len(other)) if word or other else 1.0


@lru_cache(maxsize=2048)
def _letters(word: str) -> Mapping[str, int]:
    return Counter(word)


def keys_in(section: str) -> str:
    """The keys of a section, without options of what they choose, for the end of a sentence."""
    own = [key for key in all_keys() if split_key(key) == (section, key.rpartition(".")[2], "")]
    inner = [name for name in CHOICES if name.startswith(f"{section}.")]
    if not own:
        return "it has no keys"
    listed = ", ".join(own)
    if len(listed) > LONGEST:
        fitting = listed[:LONGEST].rpartition(", ")[0]
        listed = f"{fitting} and {len(own) - fitting.count(', ') - 1} more"
    return f"its keys: {listed}{'; sections in it: ' * bool(inner)}{', '.join(inner)}"


def acts(key: Key, now: Now) -> bool:
    """Whether a key acts.

    Args:
        key: it, in one member.
        now: the values of all tags that act.
    """
    return all(_is(tag, value, now) for tag, value in key.when.items())


def why_idle(name: str, keys: Sequence[Key], now: Now) -> str:
    """Why a key does not act, and what to do about it.

    Args:
        name: dotted.
        keys: it, in every member that has it.
        now: the values of all tags that act.
    """
    wrong = {key: [tag for tag, value in key.when.items() if not _is(tag, value, now)] for key in keys}
    fewest = min(map(len, wrong.values()))
    closest = [key for key in keys if len(wrong[key]) == fewest]
    tag = wrong[closest[0]][0]
    values = list(dict.fromkeys(key.when[tag] for key in closest if tag in key.when))
    if values == [SSL]:
        return f"{name} is for self-supervised objectives, and {tag} is {now[tag]!r}; leave one of them out"
    if values == [LABELED]:
        return (
            f"{name} is for learners on labeled tasks, and {tag} is {now[tag]!r}; name another (--learner), or leave {name} "
            "out"
        )
    if isinstance(now[tag], tuple):
        return (
            f"{name} is for {tag} with {values[0]!r}, and it is {show(now[tag])}; add {values[0]!r} there, or leave {name} "
            "out"
        )
    *others, last = map(repr, values)
    listed = f"{', '.join(others)} or {last}" if others else last
    how = "" if others else f" = {last}"
    return f"{name} is for {tag} = {listed}, and it is {now[tag]!r}; set {tag}{how}, or leave {name} out"


def _is(tag: str, value: str, now: Now) -> bool:
    there = now.get(tag)
    if value == LABELED:
        return there not in (SSL, PYTHON)
    return value in there if isinstance(there, tuple) else bool(there == value)

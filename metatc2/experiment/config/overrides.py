"""Laying given values over a configuration: TOML tables, and `--set key=value`."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, get_origin

from metatc2.errors import InputError
from metatc2.experiment.config.former import former_key, former_value
from metatc2.experiment.config.schema import Config, all_keys, sections
from metatc2.experiment.config.values import is_optional, is_text, shown
from metatc2.io.plain_text import brief
from metatc2.io.reading import bounded, parse_toml

LONGEST = 2**16  # characters of a value on the command line


def merge(config: Config, tree: Mapping[str, Any], where: str) -> Config:
    """The configuration with the values of a TOML tree laid over it, checked together at the end.

    Args:
        config: what to start from.
        tree: ``{"description": ..., section: {key: value}}``; tables of options are joined, everything else is
            replaced.
        where: the file or flag that the values come from, for error messages.

    Raises:
        InputError: unknown section or key, wrong type, value out of range or not among the choices.

    >>> merge(Config(), {"episode": {"tasks": 2}}, "my.toml").episode.tasks
    2
    """
    changed: dict[str, Any] = {}
    for name, table in tree.items():
        if name == "description":
            changed[name] = table
        elif name in sections():
            if not isinstance(table, Mapping):
                raise InputError(f"{where}: [{name}] is a section, found {name} = {shown(table)}; {_keys_of(name)}")
            changed[name] = _section_values(config, name, table, where)
        else:
            inside = [f"{name}.{key}" for key in table] if isinstance(table, Mapping) else [name]
            raise unknown_key(inside[0] if inside else name, where)
    try:
        made = {name: replace(getattr(config, name), **v) for name, v in changed.items() if name in sections()}
        return replace(config, **{**changed, **made})
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _section_values(config: Config, name: str, table: Mapping[str, Any], where: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for field, value in table.items():
        key = all_keys().get(f"{name}.{field}")
        if key is None:
            raise unknown_key(f"{name}.{field}", where)
        if now := former_value(key.name, value):
            raise InputError(f"{where}: {key.name} cannot be {shown(value)} any more; {now}")
        joined = get_origin(key.hint) is Mapping and isinstance(value, Mapping)
        values[field] = {**getattr(getattr(config, name), field), **value} if joined else value
    return values


def override(config: Config, assignments: Sequence[str], where: str = "--set") -> Config:
    """The configuration with ``key=value`` assignments laid over it.

    Values are TOML (``2``, ``0.5``, ``true``, ``[1, 5]``, ``"text"``). A bare word is text, a list of bare words a list
    of texts, and ``none`` unsets a key that may be unset. All assignments are checked together: their order is free.

    Raises:
        InputError: as `merge`, or if an assignment has no ``=``.

    >>> changed = override(Config(), ["episode.tasks=2", "transfer.targets=[digits, glyphs:greek]", "encoder.width=32"])
    >>> changed.episode.tasks, changed.transfer.targets, changed.encoder.width
    (2, ('digits', 'glyphs:greek'), 32)
    """
    tree: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        name, text = name.strip(), text.strip()
        if not equals:
            raise InputError(f"{where}: expected key=value, found {shown(assignment)}")
        if len(text) > LONGEST:
            raise InputError(
                f"{where}: {shown(name)} = {shown(text)} has {len(text)} characters; at most {LONGEST} are read"
            )
        if name in sections():
            raise InputError(f"{where}: [{name}] is a section, found {shown(assignment)}; {_keys_of(name)}")
        if name == "description":
            tree[name] = _parse(text, str, f"{where}: {name}")
            continue
        key = all_keys().get(name)
        if key is not None:
            section, field = name.split(".")
            tree.setdefault(section, {})[field] = _parse(text, key.hint, f"{where}: {name}")
        else:
            section, field, option = _option_of(name, where)
            table = tree.setdefault(section, {})
            earlier = table.get(field)
            table[field] = {
                **(earlier if isinstance(earlier, Mapping) else {}),
                option: _parse(text, float, f"{where}: {name}"),
            }
    return merge(config, tree, where)


def _option_of(name: str, where: str) -> tuple[str, str, str]:
    """Section, field and option of a key inside a table: objective.options.temperature."""
    section, _, rest = name.partition(".")
    field, _, option = rest.partition(".")
    key = all_keys().get(f"{section}.{field}")
    if key is None or get_origin(key.hint) is not Mapping or not option.isidentifier():
        raise unknown_key(name, where)
    return section, field, option


def _parse(text: str, hint: Any, where: str) -> Any:
    if text == "none" and is_optional(hint):
        return None
    try:
        # A folder may be called 123 or 2024-01-01: where text is expected, only quotes are TOML.
        return _text(text) if is_text(hint) else bounded(lambda: _toml(text))
    except InputError as error:
        raise InputError(f"{where} has {error}") from None


def _text(text: str) -> Any:
    return _toml(text) if text[:1] in ('"', "'") else text


def _toml(text: str) -> Any:
    try:
        parsed = parse_toml(f"value = {text}")
    except tomllib.TOMLDecodeError:
        parsed = {}
    if parsed.keys() == {"value"}:
        return parsed["value"]
    if text.startswith("[") and text.endswith("]"):
        return [_toml(item.strip()) for item in text[1:-1].split(",") if item.strip()]
    return text


def unknown_key(name: str, where: str) -> InputError:
    """The error for a key that does not exist; it says what stands for a former one, or names the nearest of all sections.

    >>> print(unknown_key("tasks", "my.toml"))
    my.toml: unknown key 'tasks'; did you mean 'episode.tasks'?
    """
    # A key has two parts; what follows (an option, a slip) says nothing about which key was meant.
    name = brief(name)
    written = ".".join(name.split(".")[:2])
    if now := former_key(written):
        return InputError(f"{where}: there is no key {name!r} any more; {now}")
    section, _, leaf = written.rpartition(".")

    def likeness(known: str) -> float:
        other = known.rpartition(".")[2]
        by_leaf = difflib.SequenceMatcher(None, leaf, other).ratio()
        return by_leaf + (difflib.SequenceMatcher(None, written, known).ratio() if section else by_leaf)

    best = max([*all_keys(), "description"], key=likeness)
    if likeness(best) >= 1.2:
        return InputError(f"{where}: unknown key {name!r}; did you mean {best!r}?")
    home = section or name
    listed = _keys_of(home) if home in sections() else f"sections: {', '.join(sections())}"
    return InputError(f"{where}: unknown key {name!r}; {listed}")


def _keys_of(section: str) -> str:
    return "its keys: " + ", ".join(key for key in all_keys() if key.startswith(f"{section}."))

"""Laying given values over a configuration: TOML tables, and `--set key=value`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from metatc2.errors import InputError
from metatc2.experiment.config.choices import Registered, WrongTag
from metatc2.experiment.config.config import Config
from metatc2.experiment.config.former import former_value
from metatc2.experiment.config.identity import chosen_values
from metatc2.experiment.config.keys import keys_in, keys_of, owners, unknown_key
from metatc2.experiment.config.layers import Layer, layer_of
from metatc2.experiment.config.resolve import resolve
from metatc2.experiment.config.sections import CHOICES, split_key
from metatc2.io.options import shown
from metatc2.io.options.words import is_list, is_optional, is_text
from metatc2.io.reading import bounded, parse_toml

LONGEST = 2**16  # characters of a value on the command line


def merge(config: Config, tree: Mapping[str, Any], where: str) -> Config:
    """The configuration with the values of a TOML tree laid over it, checked together at the end.

    Args:
        config: what to start from.
        tree: ``{"description": ..., section: {key: value}}``. Keys that do not act are checked and left alone.
        where: the file or flag that the values come from, for error messages.

    Raises:
        InputError: unknown section or key, wrong type, value out of range or not among the choices.

    >>> merge(Config(), {"episode": {"tasks": 2}}, "my.toml").episode.tasks
    2
    """
    return resolve([*_layers(config), layer_of(tree, where)])


def override(config: Config, assignments: Sequence[str], where: str = "--set") -> Config:
    """The configuration with ``key=value`` assignments laid over it.

    Values are TOML (``2``, ``0.5``, ``true``, ``[1, 5]``, ``"text"``). A bare word is text, a list of bare words a list
    of texts, a list may stand without its brackets (``1,5``), and ``none`` unsets a key that may be unset. All assignments are
    checked together: their order is free.

    Args:
        config: what to start from.
        assignments: each ``key=value``.
        where: what messages name as the place of the assignments.

    Raises:
        InputError: as `merge`, or if an assignment has no ``=``, or its key does not act.

    >>> changed = override(Config(), ["episode.tasks=2", "transfer.targets=[digits, glyphs:greek]", "encoder.width=32"])
    >>> changed.episode.tasks, changed.transfer.targets, changed.encoder.width
    (2, ('digits', 'glyphs:greek'), 32)
    """
    return override_together(config, {where: assignments})


def override_together(config: Config, given: Mapping[str, Sequence[str]]) -> Config:
    """As `override`, of assignments from several places, a later one before an earlier one, checked together.

    Args:
        config: what to start from.
        given: assignments by the flag that they come from.

    Raises:
        InputError: as `override`.

    >>> given = {"--set": ["calibration.gamma=0"], "--calibration": ["calibration.name=tc2"]}
    >>> override_together(Config(), given).calibration.gamma
    0.0
    """
    texts = {where: _texts(assignments, where) for where, assignments in given.items() if assignments}
    layers = list(_layers(config))
    words = {key: value for layer in layers for key, value in layer.values.items()}
    words |= {name: text.strip("\"'") for own in texts.values() for name, text in own.items()}
    for where, own in texts.items():
        values = {name: _parse(text, _hint(name, words, where), f"{where}: {name}") for name, text in own.items()}
        for name, value in values.items():
            if now := former_value(name, value):
                raise InputError(f"{where}: {name} cannot be {shown(value)} any more; {now}")
        layers.append(Layer(values, where, shared=False))
    return resolve(layers) if texts else config


def settled(config: Config) -> Config:
    """The same, with what a command gave as if a file had: it was checked then, and may not act once more is chosen.

    >>> small = override(Config(), ["transfer.few-shot.ways=3"])
    >>> list(override(settled(small), ["transfer.protocols=knn"]).protocols)
    ['knn']
    """
    return replace(config).with_layers(tuple(replace(layer, shared=True) for layer in _layers(config)))


def _texts(assignments: Sequence[str], where: str) -> dict[str, str]:
    """What stands after the sign of equality, by key."""
    texts: dict[str, str] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        name, text = name.strip(), text.strip()
        if not equals:
            raise InputError(f"{where}: expected key=value, found {shown(assignment)}")
        if len(text) > LONGEST:
            raise InputError(
                f"{where}: {shown(name)} = {shown(text)} has {len(text)} characters; at most {LONGEST} are read"
            )
        if name in CHOICES:
            raise InputError(f"{where}: [{name}] is a section, found {shown(assignment)}; {keys_in(name)}")
        texts[name] = text
    return texts


def _layers(config: Config) -> tuple[Layer, ...]:
    """What a configuration was made from; of one that was made in Python, the values that were given."""
    return config.layers or (Layer(chosen_values(config), ""),)


def _hint(name: str, words: Mapping[str, Any], where: str) -> Any:
    """The type of a key: in the member that acts if it has it, else in the first that does."""
    if name == "description":
        return str
    choice = CHOICES.get(split_key(name)[0])
    if choice is None:
        raise unknown_key(name, where)
    if isinstance(choice, Registered) and name == choice.tag:
        return str
    try:
        member = choice.pick(words.get)
    except WrongTag:
        member = None
    own = () if member is None else (key for key in keys_of(member) if key.name == name)
    key = next(iter(own), None) or next(owners(choice, name), None)
    if key is None:
        raise unknown_key(name, where)
    return key.hint


def _parse(text: str, hint: Any, where: str) -> Any:
    if text == "none" and is_optional(hint):
        return None
    if is_list(hint) and text and text[0] not in "[{":
        text = f"[{text}]"
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

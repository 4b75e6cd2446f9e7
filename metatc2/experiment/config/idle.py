"""Given keys that do not act: in a task file they serve other methods, in a command they are refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from metatc2.errors import InputError
from metatc2.experiment.config.choices import Member, Now
from metatc2.experiment.config.keys import Key, nested, owners, unknown_key, why_idle
from metatc2.experiment.config.layers import Layer, giver
from metatc2.experiment.config.sections import CHOICES, split_key
from metatc2.io.options import describe, shown
from metatc2.io.options.base import WrongOption


def check_idle(
    picked: Mapping[str, Member | None], layers: Sequence[Layer], values: Mapping[str, Any], now: Now
) -> None:
    """Whether every given key acts, or may stand where it was given.

    Args:
        picked: the member of each section that acts.
        layers: where values were given.
        values: by dotted key, the last given.
        now: the values of all tags that act.

    Raises:
        InputError: if a key does not exist, does not act and was given by a command, or has a value that it cannot have.
    """
    for key, value in values.items():
        section = split_key(key)[0]
        if section not in CHOICES or _acts(key, value, picked[section], now):
            continue
        layer = giver(layers, key)
        known = list(owners(CHOICES[section], key))
        if not known:
            raise _unknown(key, value, layer)
        if not layer.shared:
            raise InputError(f"{layer.where}: {why_idle(key, known, now)}")
        try:
            _check_alone(key, known[0], values)
        except WrongOption as error:
            raise InputError(f"{layer.where}: {error}") from None


def _acts(key: str, value: object, member: Member | None, now: Now) -> bool:
    if member is None:
        return False
    if key in member.tags:
        return member.tags[key] == value
    section, field, part = split_key(key)
    chosen = nested(member.kind, field)
    if chosen is None or not part:
        return field in member.kind.model_fields and key == f"{section}.{field}"
    return part != "name" and part in chosen.named(now[f"{section}.{field}"]).model_fields


def _check_alone(key: str, owner: Key, values: Mapping[str, Any]) -> None:
    """The value as one of the members that have the key would take it, with what was given besides for that member.

    The other values of the section may be meant for another member, so that what is wrong with them is not said of this key.

    Raises:
        WrongOption: if none takes it: what the first has against it.
    """
    section, field, part = split_key(key)
    if part:
        member = next(m for m in CHOICES[section].members() if field in m.kind.model_fields)
        options = nested(member.kind, field).named(owner.when[f"{section}.{field}"])
        options.made({part: values[key]}, f"{section}.{field}")
        return
    refusals = []
    for member in CHOICES[section].members():
        if field not in member.kind.model_fields:
            continue
        own = {
            name: values[f"{section}.{name}"]
            for name in member.kind.model_fields
            if f"{section}.{name}" in values and f"{section}.{name}" not in member.tags
        }
        try:
            member.kind.made(own, section)
        except WrongOption as error:
            if error.key not in (key, section):
                return
            refusals.append(error)
        else:
            return
    raise refusals[0]


def _unknown(key: str, value: object, layer: Layer) -> InputError:
    """Of a table in the place of a value the value is said, where it was no key of a command."""
    section, field, _ = split_key(key)
    outer = f"{section}.{field}"
    known = [] if outer == key or not layer.shared else list(owners(CHOICES[section], outer))
    if not known:
        return unknown_key(key, layer.where)
    table = {key.removeprefix(f"{outer}."): value}
    return InputError(f"{layer.where}: {outer} must be {describe(known[0].hint)}, found {shown(table)}")

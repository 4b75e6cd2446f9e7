"""From layers of given values to a configuration: merged as values, then checked once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic.fields import FieldInfo

from metatc2.errors import InputError
from metatc2.experiment.config.choices import LEARNER, SSL, Choice, Member, Now, WrongTag
from metatc2.experiment.config.config import Config
from metatc2.experiment.config.idle import check_idle
from metatc2.experiment.config.keys import nested, owners, unknown_key, why_idle
from metatc2.experiment.config.layers import Layer, giver, placed
from metatc2.experiment.config.sections import CHOICES, PROTOCOL_NAMES, split_key
from metatc2.experiment.config.transfer import TransferConfig
from metatc2.io.options import Options
from metatc2.io.options.base import WrongOption


def resolve(layers: Sequence[Layer]) -> Config:
    """The configuration that layers make, a later one before an earlier one.

    Raises:
        InputError: unknown section or key, wrong type, value out of range or not among the choices; or a key of a command
            that does not act.

    >>> resolve([Layer({"episode.tasks": 8}, "my.toml"), Layer({"episode.tasks": 2}, "--set")]).episode.tasks
    2
    """
    values = {key: value for layer in layers for key, value in layer.values.items()}
    for key in values:
        if split_key(key)[0] not in CHOICES and key != "description":
            raise unknown_key(key, giver(layers, key).where)
    picked = {name: _picked(choice, layers, values) for name, choice in CHOICES.items()}
    now: Now = {tag: value for member in picked.values() if member for tag, value in member.tags.items()}
    now[LEARNER] = values.get(LEARNER) or SSL
    try:
        made: dict[str, Any] = {name: _made(name, member, values, now) for name, member in picked.items() if member}
        now[PROTOCOL_NAMES] = made[TransferConfig.section].protocols
        outer: dict[str, Any] = {
            name: made.get(name) or choice.default() for name, choice in CHOICES.items() if "." not in name
        }
        protocols = {name.partition(".")[2]: section for name, section in made.items() if "." in name}
        config = Config(description=values.get("description", ""), protocols=protocols, **outer)
    except WrongOption as error:
        raise placed(_explained(error, values, now), layers) from None
    check_idle(picked, layers, values, now)
    return config.with_layers(tuple(layers))


def _explained(error: WrongOption, values: Mapping[str, Any], now: Now) -> WrongOption:
    """The error, with the member that takes a word which the one that acts does not."""
    key, value = error.key, values.get(error.key)
    choice = CHOICES.get(split_key(key)[0])
    if choice is None or not isinstance(value, str):
        return error
    others = [other for other in owners(choice, key) if value in get_args(other.hint)]
    return WrongOption(key, why_idle(f"{key} = {value!r}", others, now)) if others else error


def _picked(choice: Choice, layers: Sequence[Layer], values: Mapping[str, Any]) -> Member | None:
    """The member that acts; a tag of another learner's member is passed over where it may stand."""
    passed: set[str] = set()
    while True:
        try:
            return choice.pick(lambda key: None if key in passed else values.get(key))
        except WrongTag as error:
            layer = giver(layers, error.key)
            if not (error.elsewhere and layer.shared):
                raise InputError(f"{layer.where}: {error}") from None
            passed.add(error.key)


def _made(section: str, member: Member, values: Mapping[str, Any], now: Now) -> Options:
    """The section of what was given for the fields of its member; `now` is told the names that it chooses."""
    own: dict[str, Any] = {}
    for field in member.kind.model_fields:
        key = f"{section}.{field}"
        chosen = nested(member.kind, field)
        if chosen is not None:
            made = _chosen(key, chosen, member.kind.model_fields[field], values, now)
            own.update({} if made is None else {field: made})
        elif key in member.tags:
            own.update({field: member.tags[key]} if key in values else {})
        elif key in values:
            own[field] = values[key]
    return member.kind.made(own, section)


def _chosen(key: str, chosen: Any, info: FieldInfo, values: Mapping[str, Any], now: Now) -> Any:
    """What is chosen by a name with its own options; None where nothing of it was given."""
    usual = info.get_default(call_default_factory=True, validated_data={})
    name = values.get(key, usual.name)
    if not isinstance(name, str) or name not in chosen.names():
        return name  # what is said of the value is enough
    now[key] = name
    options = chosen.named(name)
    own = {
        part: values[f"{key}.{part}"] for part in options.model_fields if part != "name" and f"{key}.{part}" in values
    }
    return options.made(own, key) if own or key in values else None

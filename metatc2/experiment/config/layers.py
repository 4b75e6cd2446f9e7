"""Layers of given values, from a task file to a flag, and the origin of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metatc2.errors import InputError
from metatc2.experiment.config.former import former_value
from metatc2.experiment.config.keys import keys_in, nested, unknown_key
from metatc2.experiment.config.sections import CHOICES, split_key
from metatc2.io.options import shown
from metatc2.io.options.base import WrongOption


@dataclass(frozen=True)
class Layer:
    """Values that were given together.

    Args:
        values: by dotted key.
        where: file or flag, for errors and origins.
        shared: whether they may serve other methods too, as those of a task file: what does not act is left alone. Of a
            command's own values it is refused.
    """

    values: Mapping[str, Any]
    where: str
    shared: bool = True


def layer_of(tree: Mapping[str, Any], where: str) -> Layer:
    """The layer that a TOML tree is.

    Args:
        tree: ``{"description": ..., section: {key: value}}``; a section may hold others.
        where: file, for errors.

    Raises:
        InputError: if there is no such section, or it is no table.

    >>> layer_of({"calibration": {"adjoint": {"name": "truncated", "last_steps": 2}}}, "my.toml").values
    {'calibration.adjoint': 'truncated', 'calibration.adjoint.last_steps': 2}
    """
    values: dict[str, Any] = {}
    for name, table in tree.items():
        if name == "description":
            values[name] = table
        elif name not in CHOICES:
            inside = [f"{name}.{key}" for key in table] if isinstance(table, Mapping) else [name]
            raise unknown_key(inside[0] if inside else name, where)
        else:
            values.update(_section(name, table, where))
    for key, value in values.items():
        if now := former_value(key, value):
            raise InputError(f"{where}: {key} cannot be {shown(value)} any more; {now}")
    return Layer(values, where)


def _section(name: str, table: object, where: str) -> dict[str, Any]:
    if not isinstance(table, Mapping):
        raise InputError(f"{where}: [{name}] is a section, found {name} = {shown(table)}; {keys_in(name)}")
    values: dict[str, Any] = {}
    for key, value in table.items():
        inner = f"{name}.{key}"
        values.update(_section(inner, value, where) if inner in CHOICES else _flat(name, key, value))
    return values


def _flat(section: str, key: str, value: object) -> dict[str, Any]:
    name = f"{section}.{key}"
    if isinstance(value, Mapping) and value and any(nested(m.kind, key) for m in CHOICES[section].members()):
        return {name if part == "name" else f"{name}.{part}": inner for part, inner in value.items()}
    return {name: value}


def tree_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """The TOML tree of values by dotted key; the inverse of `layer_of`.

    >>> tree_of({"calibration.adjoint": "truncated", "calibration.adjoint.last_steps": 2})
    {'calibration': {'adjoint': {'name': 'truncated', 'last_steps': 2}}}
    """
    tree: dict[str, Any] = {}
    tables = {key.rpartition(".")[0] for key in values}
    for key, value in values.items():
        *path, leaf = [*key.split("."), "name"] if key in tables else key.split(".")
        place = tree
        for part in path:
            place = place.setdefault(part, {})
        place[leaf] = list(value) if isinstance(value, tuple) else value
    return tree


def giver(layers: Sequence[Layer], key: str) -> Layer:
    """The layer that a key's value comes from."""
    return next(layer for layer in reversed(layers) if key in layer.values)


def placed(error: WrongOption, layers: Sequence[Layer]) -> InputError:
    """The error with the layer that its key, or else one of its section, was given in last."""
    section = error.key if error.key in CHOICES else split_key(error.key)[0]
    own = [layer.where for layer in layers if error.key in layer.values]
    near = [layer.where for layer in layers if any(key.startswith(f"{section}.") for key in layer.values)]
    where = (own or near or [""])[-1]
    return InputError(f"{where}: {error}" if where else str(error))

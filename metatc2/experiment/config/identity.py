"""When two configurations are the same run, the same method, or differ, and in what."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any

from metatc2.experiment.config.calibration import CalibratorConfig
from metatc2.experiment.config.choices import Member
from metatc2.experiment.config.config import Config
from metatc2.experiment.config.learner import PythonConfig
from metatc2.experiment.config.sections import split_key
from metatc2.io.options import Options, show
from metatc2.io.source_names import tidy

# What may differ between a checkpoint and the run that resumes it; so may [transfer] and the description.
FREE_KEYS = frozenset(
    f"trainer.{field}"
    for field in ("checkpoint_every", "log_every", "loggers", "accelerator", "devices", "nodes", "threads")
) | {
    "data.root",
    "data.download",
    "data.stream",
    "data.workers",
    "umm.start",
}


def flatten(config: Config) -> dict[str, Any]:
    """Every value that acts, by dotted key; what may be unset and is so is left out.

    Of a run that a program of the user's trained, those that it gave: no default of a task acted there.

    >>> flat = flatten(Config())
    >>> flat["episode.tasks"], flat["objective.temperature"], "encoder.width" in flat
    (4, 0.5, False)
    """
    if isinstance(config.learner, PythonConfig):
        return {key: value for key, value in chosen_values(config).items() if value is not None}
    flat: dict[str, Any] = {"description": config.description} if config.description else {}
    for name, section in config.sections.items():
        flat.update(_values(name, section, type(section).model_fields))
    return {key: value for key, value in flat.items() if value is not None}


def chosen_values(config: Config) -> dict[str, Any]:
    """As `flatten`, of the values alone that were given where the sections were made."""
    flat: dict[str, Any] = {"description": config.description} if config.description else {}
    for name, section in config.sections.items():
        tags = [field for field in type(section).model_fields if f"{name}.{field}" in Member.of(type(section)).tags]
        flat.update(_values(name, section, [*section.model_fields_set, *tags]))
    return flat


def kept_values(config: Config) -> dict[str, Any]:
    """Given options of protocols that are not to be run: a later command may name one of them.

    >>> from metatc2.experiment.config.overrides import merge
    >>> kept_values(merge(Config(), {"transfer": {"knn": {"ks": [5]}}}, "my.toml"))
    {'transfer.knn.ks': [5]}
    """
    given = {key: value for layer in config.layers for key, value in layer.values.items()}
    acting = config.sections
    return {
        key: value
        for key, value in given.items()
        if (section := split_key(key)[0]) not in acting and "." in section and value is not None
    }


def _values(name: str, section: Options, fields: Iterable[str]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for field in fields:
        value = getattr(section, field)
        if isinstance(value, Options):  # chosen by a name, with options of its own
            inner = {
                f"{name}.{field}.{part}": getattr(value, part) for part in type(value).model_fields if part != "name"
            }
            flat |= {f"{name}.{field}": value.name, **inner}  # type: ignore[attr-defined]
        else:
            flat[f"{name}.{field}"] = value
    return flat


def fingerprint(config: Config) -> str:
    """SHA-256 (hexadecimal) of what must agree for a checkpoint to be resumed.

    Left out: the description, [transfer], where data lie, where a stage of UMM began, a [monitor] that ends no training, and
    the trainer's checkpoint_every, log_every, loggers, accelerator, devices, nodes, threads.

    >>> from metatc2.experiment.config.overrides import override
    >>> fingerprint(Config()) == fingerprint(override(Config(), ["trainer.log_every=1"]))
    True
    """
    return _digest(_binding(config))


def method_key(config: Config) -> str:
    """As `fingerprint`, for runs that differ in their seed alone: groups the runs of one method on one task.

    >>> from metatc2.experiment.config.overrides import override
    >>> method_key(Config()) == method_key(override(Config(), ["trainer.seed=7"]))
    True
    """
    binding = _binding(config)
    # What is spelled otherwise and is the same: seeds of one method must not be taken for two methods.
    if "data.source" in binding:
        binding["data.source"] = tidy(str(binding["data.source"]))
    return _digest({name: value for name, value in binding.items() if name != "trainer.seed"})


def method_name(config: Config) -> str:
    """A short label: the objective (or learner on labeled tasks), calibration with its control, and regularizer.

    >>> from metatc2.experiment.config.overrides import override
    >>> method_name(Config()), method_name(override(Config(), ["calibration.name=tc2", "encoder.weights=runs/a"]))
    ('simclr', 'simclr+tc2 from a')
    """
    if isinstance(config.learner, PythonConfig):
        return config.learner.method
    calibration = config.calibration
    base = config.objective.name if config.learner.name == "ssl" else config.learner.name
    parts = [base]
    if calibration.name != "none":
        marks = []
        if isinstance(calibration, CalibratorConfig):
            marks = ["shared", *([calibration.control] if calibration.control != "none" else [])]
        parts.append(calibration.name + (f"({', '.join(marks)})" if marks else ""))
    for section in (config.regularizer, config.condition, config.auxiliary, config.umm):
        if section.name != "none":
            parts.append(section.name)
    weights = config.encoder.weights
    return "+".join(parts) + (f" from {PurePath(weights).name}" if weights else "")


def differences(checkpoint: Config, now: Config) -> list[str]:
    """What keeps `now` from resuming `checkpoint`, one sentence a key; empty exactly when the fingerprints agree.

    >>> from metatc2.experiment.config.overrides import override
    >>> differences(Config(), override(Config(), ["episode.tasks=2"]))
    ['episode.tasks: 4 in the checkpoint, 2 now']
    """
    old, new = _binding(checkpoint), _binding(now)
    return [
        f"{name}: {_or_unset(old, name)} in the checkpoint, {_or_unset(new, name)} now"
        for name in [*old, *(name for name in new if name not in old)]
        if _or_unset(old, name) != _or_unset(new, name)
    ]


def _or_unset(flat: Mapping[str, Any], name: str) -> str:
    return show(flat[name]) if name in flat else "unset"


def _binding(config: Config) -> dict[str, Any]:
    flat = flatten(config)
    # A monitor that only measures leaves the run as it would be without.
    free = ("transfer.",) if "monitor.stop_after" in flat else ("transfer.", "monitor.")
    return {
        name: value
        for name, value in flat.items()
        if name != "description" and not name.startswith(free) and name not in FREE_KEYS
    }


def _digest(flat: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(flat, sort_keys=True).encode()).hexdigest()

"""When two configurations are the same run, the same method, or differ, and in what."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from metatc2.experiment.config.schema import Config, all_keys
from metatc2.experiment.config.values import show
from metatc2.io.source_names import tidy

# What may differ between a checkpoint and the run that resumes it; so may [transfer] and the description.
FREE_KEYS = frozenset(f"trainer.{field}" for field in ("checkpoint_every", "log_every", "accelerator", "threads")) | {
    "data.root",
    "data.download",
    "data.stream",
    "data.workers",
}


def flatten(config: Config) -> dict[str, Any]:
    """Every value that is set, by dotted key; options of the objective one by one.

    >>> flat = flatten(Config())
    >>> flat["episode.tasks"], "encoder.width" in flat
    (4, False)
    """
    flat: dict[str, Any] = {"description": config.description} if config.description else {}
    for name, key in all_keys().items():
        value = getattr(getattr(config, name.partition(".")[0]), key.field)
        if isinstance(value, Mapping):
            flat.update({f"{name}.{option}": value[option] for option in value})
        elif value is not None:
            flat[name] = value
    return flat


def fingerprint(config: Config) -> str:
    """SHA-256 (hexadecimal) of what must agree for a checkpoint to be resumed.

    Left out: the description, [transfer], where data lie, and the trainer's checkpoint_every, log_every, accelerator, threads.

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
    binding["data.source"] = tidy(str(binding["data.source"]))
    return _digest({name: value for name, value in binding.items() if name != "trainer.seed"})


def method_name(config: Config) -> str:
    """A short label: the objective (or learner on labeled tasks), calibration with its control, and regularizer.

    >>> from metatc2.experiment.config.overrides import override
    >>> method_name(Config()), method_name(override(Config(), ["calibration.name=tc2"]))
    ('simclr', 'simclr+tc2')
    """
    calibration = config.calibration
    base = config.objective.name if config.learner.name == "ssl" else config.learner.name
    parts = [base]
    if calibration.name != "none":
        shared = calibration.name == "tc2" and calibration.adapt == "shared"
        marks = ["shared"] * shared + [calibration.control] * (shared and calibration.control != "none")
        parts.append(calibration.name + (f"({', '.join(marks)})" if marks else ""))
    if config.regularizer.name != "none":
        parts.append(config.regularizer.name)
    return "+".join(parts)


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
    return {
        name: value
        for name, value in flat.items()
        if name != "description" and not name.startswith("transfer.") and name not in FREE_KEYS
    }


def _digest(flat: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(flat, sort_keys=True).encode()).hexdigest()

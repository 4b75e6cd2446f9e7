"""The command that pre-trains as an arm of advice was."""

from __future__ import annotations

from pathlib import Path

from metatc2.experiment.command_config import MethodFlags, configured
from metatc2.experiment.config import Config, LabeledEpisode, flatten
from metatc2.experiment.config.identity import FREE_KEYS
from metatc2.io.options import show
from metatc2.io.suggest import command

#: Of keys that have an option of their own.
_FLAGS = {
    "objective.name": "--objective",
    "calibration.name": "--calibration",
    "regularizer.name": "--regularize",
    "trainer.steps": "--steps",
    "trainer.seed": "--seed",
}
#: What `metatc2 pretrain` makes of where data lie and what is measured afterwards is no part of how an encoder is trained.
_KEPT = ("data.root", "data.download", "data.stream", "data.workers")


def pretrain_command(task: str, config: Config) -> str:
    """``metatc2 pretrain TASK ...`` that makes a configuration.

    Args:
        task: that the configuration was made from, see `read_task`.
        config: of an objective.

    >>> from metatc2.experiment.config import override, read_task
    >>> changes = ["regularizer.name=visreg", "episode.batch=32", "trainer.steps=9"]
    >>> print(pretrain_command("digits", override(read_task("digits"), changes)))
    metatc2 pretrain digits --objective simclr --calibration none --regularize visreg --steps 9 --seed 0 --set episode.batch=32
    """
    assert not isinstance(config.episode, LabeledEpisode)
    wanted, words = flatten(config), ["pretrain", _word(task)]
    for key, flag in _FLAGS.items():
        words += [flag, str(wanted.get(key, "none"))]
    objective, calibration, regularize = (str(wanted.get(key, "none")) for key in list(_FLAGS)[:3])
    named = MethodFlags(objective, calibration, regularize)
    usual = flatten(configured(task, named))
    changed = [key for key in wanted if wanted[key] != usual.get(key) and _acts(key)]
    changed += [key for key in usual if key not in wanted and _acts(key)]
    if changed:
        words += ["--set", *(f"{key}={_text(wanted.get(key))}" for key in changed)]
    return command(*words)


def _acts(key: str) -> bool:
    free = key in FREE_KEYS and key not in _KEPT
    return key not in _FLAGS and key != "description" and not free and not key.startswith(("transfer.", "monitor."))


def _text(value: object) -> str:
    if value is None:
        return "none"
    # A folder may be called none, or begin with a blank: quoted it is read as it is.
    plain = isinstance(value, str) and value == value.strip() and value != "none" and value[:1] not in ('"', "'")
    return str(value) if plain else show(value)


def _word(task: str) -> str | Path:
    return Path(task) if task.startswith("-") else task

"""The names of loggers, and what a trainer asks of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from metatc2.errors import InputError
from metatc2.io import registries
from metatc2.io.registry import Registry


class Logger(Protocol):
    """What is asked of a logger: those of Lightning Fabric and PyTorch Lightning have it.

    Where it has them, ``log_hyperparams(params)`` is called once before, ``save()`` where `fit` pauses, and
    ``finalize(status)`` at the end, ``"success"`` or ``"failed"``.
    """

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Note the values of a step."""


Build = TypeVar("Build", bound=Callable[[Path], Any])

LOGGERS: Registry[Callable[[Path], Logger]] = registries.LOGGERS


def register_logger(name: str) -> Callable[[Build], Build]:
    """Decorator of a function from a folder, which need not be there, to a logger that writes into it.

    Args:
        name: see `metatc2.io.registry.Registry.register`.

    Raises:
        InputError: if the name is taken.
    """
    return LOGGERS.register(name)  # type: ignore[return-value]  # it returns the very thing that it is given


def build_loggers(asked: Sequence[str | Any] | str, folder: Path | None) -> list[Any]:
    """Loggers, those by name in folders of theirs.

    Args:
        asked: names of `LOGGERS`, or objects with ``log_metrics(metrics, step)``.
        folder: in which each gets a folder by its name; None where there is no run folder.

    Raises:
        InputError: if a name is unknown, there is no folder for it, or an object cannot log.
        MissingPackage: if a logger's package is not installed.

    >>> build_loggers(["csvs"], None)
    Traceback (most recent call last):
    metatc2.errors.InputError: unknown logger 'csvs'; did you mean 'csv'? Known: csv, tensorboard, wandb
    """
    made: list[Any] = []
    for each in [asked] if isinstance(asked, str) else asked:
        if not isinstance(each, str):
            if not callable(getattr(each, "log_metrics", None)) or isinstance(each, type):
                raise InputError(
                    f"logger {each!r:.80} has no log_metrics(metrics, step); give an object that has, or one of the names "
                    f"{', '.join(LOGGERS)}"
                )
            made.append(each)
            continue
        build = LOGGERS[each]
        if folder is None:
            raise InputError(
                f"logger {each!r} writes into the run folder, and there is none; pass run=PATH to the trainer"
            )
        made.append(build(folder / each))
    return made


def plain(record: Mapping[str, float]) -> dict[str, float]:
    """What of a record is logged: everything but the step itself."""
    return {name: value for name, value in record.items() if name != "step"}

"""Records on their way to loggers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from metatc2.training.loggers.registry import plain


class Logging:
    """Some loggers, each asked for what it has.

    Args:
        loggers: see `metatc2.training.loggers.Logger`.
    """

    def __init__(self, loggers: Sequence[Any]) -> None:
        self.loggers = tuple(loggers)
        self._begun = False

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Note the settings, once."""
        for each in self.loggers if not self._begun else ():
            if hasattr(each, "log_hyperparams"):
                with suppress(NotImplementedError):  # Fabric's CSVLogger has it and does not take any
                    each.log_hyperparams(dict(settings))
        self._begun = True

    def log(self, record: Mapping[str, float]) -> None:
        """Note a record under its step."""
        for each in self.loggers:
            each.log_metrics(plain(record), step=int(record["step"]))

    def end(self, status: str, *, whole: bool) -> None:
        """Write what is not written yet.

        Args:
            status: ``"success"`` or ``"failed"``.
            whole: whether training is at its end, and does not only pause.
        """
        for each in self.loggers:
            if (whole or status == "failed") and hasattr(each, "finalize"):
                each.finalize(status)
            elif hasattr(each, "save"):
                each.save()

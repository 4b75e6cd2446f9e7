"""What is written down of a training: records of metrics, and warnings where something is wrong."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

from metatc2.learners import Learner, Outcome
from metatc2.objectives import collapsed
from metatc2.training.metrics_file import append_metrics
from metatc2.training.record_logging import Logging
from metatc2.training.run_folder import RunFolder

Record = dict[str, float]


class HealthWarning(UserWarning):
    """A run goes on but something is wrong: embeddings collapse, or a learner raises an alarm."""


class Records:
    """The records of a training, on their way to its folder and its loggers.

    Args:
        learner: that raises alarms.
        folder: whose ``metrics.jsonl`` gets them; None of a training without a folder, and of all processes but the first.
        logging: likewise, of no loggers then.
        speaks: whether this process warns.
    """

    def __init__(self, learner: Learner, folder: RunFolder | None, logging: Logging, *, speaks: bool) -> None:
        self.learner, self.folder, self.logging, self.speaks = learner, folder, logging, speaks
        self.all: list[Record] = []
        #: Values that callbacks add to the next one.
        self.told: Record = {}
        self._warned: set[str] = set()

    def begin(self) -> None:
        """Warn anew of what was warned of in an earlier part of the training."""
        self._warned = set()

    def add(self, step: int, outcome: Outcome, more: Mapping[str, float]) -> Record:
        """Make the record of a step, and write it.

        Args:
            step: steps done.
            outcome: of the last one, over all processes.
            more: learning rate, times and so on.
        """
        record: Record = {"step": step, "loss": float(outcome.loss.detach())}
        record |= {name: float(value) for name, value in outcome.metrics.items()} | dict(more) | self.told
        self.told = {}
        alarms = self.learner.alarms(record)
        if outcome.embeddings is not None and (sentence := collapsed(outcome.embeddings)):
            alarms = {**alarms, "collapse": sentence}
        self.all.append(record)
        if self.folder:
            self.folder.require_there()
            append_metrics(self.folder.metrics, {**record, **({"alarms": alarms} if alarms else {})})
        self.logging.log(record)
        for name in alarms.keys() - self._warned if self.speaks else ():
            self._warned.add(name)
            warnings.warn(f"step {step}: {alarms[name]}", HealthWarning, stacklevel=3)
        return record

"""Names of the files of a run, and whether a path is one of them."""

from __future__ import annotations

import os
from pathlib import Path

CONFIG = "config.toml"
ORIGIN = "origin.json"
START = "start.json"
METRICS = "metrics.jsonl"
CHECKPOINT = "checkpoint"
FAILURE = "failure"
ENCODER, CALIBRATOR, LEARNER = "encoder.safetensors", "calibrator.safetensors", "learner.safetensors"
HEADS = "heads.safetensors"
MONITOR = "monitor.jsonl"
RESULTS, ACCURACIES = "transfer.json", "transfer.safetensors"
DIAGNOSIS = "diagnose.json"
IDENTITY = "encoder.json"
FEATURES = "features"
LOGS = "logs"
LOCK, RESULTS_LOCK = ".lock", ".results.lock"
DEMO = ".demo"
EXPORTED = ("config.json", "model.safetensors", "calibrator.safetensors", "README.md")
# What belongs to one trained encoder; the rest to the training.
TRAINED = (ENCODER, CALIBRATOR, LEARNER, HEADS, RESULTS, ACCURACIES, DIAGNOSIS)
OF_A_RUN = frozenset(
    {CONFIG, ORIGIN, START, METRICS, MONITOR, CHECKPOINT, FAILURE, FEATURES, LOGS, LOCK, RESULTS_LOCK, DEMO, *TRAINED}
)

# By folders that hold one of the first names: what in them nothing else may write.
_KEPT = (
    ((CONFIG, METRICS, CHECKPOINT, ENCODER, IDENTITY, RESULTS), OF_A_RUN | {IDENTITY}),
    ((EXPORTED[1],), frozenset(EXPORTED)),
    ((DEMO,), frozenset({"demo.json", "demo.png"})),
)


def folder_of_file(path: Path) -> Path | None:
    """The folder of a run, of results, of an exported encoder or of a demo that a path is a file of, there already or not.

    Args:
        path: links among its folders are followed.

    >>> folder_of_file(Path("nowhere/config.toml")) is None
    True
    """
    real = Path(os.path.realpath(path.parent)) / path.name
    for folder in real.parents:
        # As the file system may see it: some know no capital letters.
        name = real.relative_to(folder).parts[0].casefold()
        for marks, names in _KEPT:
            if name in {kept.casefold() for kept in names} and any(os.path.lexists(folder / mark) for mark in marks):
                return folder
    return None

"""The folder that a run is written to where none is named."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from metatc2.experiment.config import Config

LONGEST = 120  # bytes of a folder's name: file systems take 255, encrypted ones 143


def default_folder(task: str, config: Config) -> Path:
    """``runs/TASK-METHOD-CALIBRATION[-REGULARIZER]-sSEED`` (method: objective or learner), next to where the command is run.

    Of the task, letters, digits, dots and dashes are taken over. A long one is cut at its front, since paths differ at
    their end, and told apart from others by eight digits of its checksum.

    >>> default_folder("glyphs", Config()).as_posix()
    'runs/glyphs-simclr-none-s0'
    >>> len(default_folder("folder:/" + "a/" * 500, Config()).name) <= LONGEST
    True
    """
    method = config.objective.name if config.learner.name == "ssl" else config.learner.name
    asked = "" if config.regularizer.name == "none" else f"-{config.regularizer.name}"
    end = _safe(f"{method}-{config.calibration.name}{asked}-s{config.trainer.seed}")
    return _named(Path(task).stem if task.endswith(".toml") else task, end)


def folder_of_advice(source: str) -> Path:
    """Where advice on a source goes where no folder is named.

    >>> folder_of_advice("folder:my/photos").as_posix()
    'runs/folder-my-photos-advice'
    """
    return _named(source, "advice")


def _named(task: str, end: str) -> Path:
    stem = _safe(task) or "run"
    room = LONGEST - len(end.encode()) - 1
    if len(stem.encode()) > room:
        told = hashlib.sha256(task.encode(errors="surrogateescape")).hexdigest()[:8]
        stem = f"{told}-{stem.encode()[9 - room :].decode(errors='ignore').lstrip('.-')}"
    return Path("runs") / f"{stem}-{end}"


def _safe(text: str) -> str:
    # No letter outside \w is needed to know a run again; a leading dot would hide it.
    return re.sub(r"[^\w.-]+", "-", text).strip("-.")

"""Weights that pre-training starts from: those of a finished run, of an exported folder, or of a file of anyone's."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from metatc2.data.seen import UNKNOWN_SOURCE, SeenClasses
from metatc2.errors import InputError
from metatc2.experiment.config import Config, read_config
from metatc2.experiment.filled import OURS, warn_of
from metatc2.experiment.seed_folders import seed_folder
from metatc2.experiment.weights import read_tensors
from metatc2.io.files import printable, write_atomically, writing
from metatc2.io.reading import read_json
from metatc2.io.run_files import CONFIG, ENCODER, EXPORTED
from metatc2.io.writing import json_text
from metatc2.models.finite_weights import check_weights
from metatc2.models.foreign_weights import TORCH_FILES, fitting, load_foreign, read_torch_file
from metatc2.training.run_folder import RunFolder

_KEY = "encoder.weights"
_NOT_KNOWN = SeenClasses(UNKNOWN_SOURCE, frozenset())


@dataclass(frozen=True, eq=False)
class Start:
    """Weights to start from.

    Args:
        file: that they are in.
        sha256: checksum of the file.
        seen: classes that they have learned from; of a file that does not say it, those of an unknown source.
        tensors: by name, also in tables.
    """

    file: Path
    sha256: str
    seen: SeenClasses
    tensors: Mapping[str, Any]

    def load_into(self, encoder: nn.Module, name: str) -> None:
        """Fill an encoder, and say in a `ForeignWeights` warning what was left out.

        Args:
            encoder: freshly made.
            name: of the network.

        Raises:
            InputError: if they do not fit, or are not finite.
        """
        try:
            said = load_foreign(encoder, self.tensors, self.file, name, "[encoder]")
        except InputError as error:
            known = fitting(self.tensors)
            why = str(error) if known is None else f"{self.file} does not fit {name}; it fits {known.trained}"
            raise InputError(f"{_KEY}: {why}{self._network()}") from error
        check_weights(encoder, f"{_KEY}: {self.file}")
        warn_of(self.file, said, OURS)

    def _network(self) -> str:
        """What to type to train the network of a run, if the weights are of one."""
        beside = self.file.parent / CONFIG
        if self.file.name != ENCODER or not beside.is_file():
            return ""
        network = read_config(beside).encoder
        width = "" if network.width is None else f" --set encoder.width={network.width}"
        return f"; {self.file.parent} trained --encoder {network.name}{width}"

    def note(self, folder: RunFolder) -> None:
        """Write down in a run folder what it starts from.

        Raises:
            InputError: if it cannot be written.
        """
        content = {"weights": printable(str(self.file)), "sha256": self.sha256, "seen": self.seen.to_facts()}
        with writing(folder.start):
            write_atomically(folder.start, json_text(content).encode())


def read_start(config: Config, folder: RunFolder) -> Start | None:
    """The weights of ``encoder.weights``; None where training starts untrained.

    Args:
        config: see `Config`. A name that is no path stands for the run of its own seed, ``NAME-sSEED``.
        folder: of the run; weights that have changed since it was begun are refused.

    Raises:
        InputError: if there are no such weights, or the encoder is not one network.
    """
    if config.encoder.weights is None:
        return None
    if config.encoder.one_a_kind:
        raise InputError(f"{_KEY} starts one encoder, and encoder.one_a_kind trains several; leave one of them out")
    file = _file(Path(config.encoder.weights).expanduser(), config.trainer.seed)
    facts: Mapping[str, str] = {}
    tensors: Mapping[str, Any]
    if file.suffix in TORCH_FILES:
        tensors = read_torch_file(file)
    else:
        tensors, facts = read_tensors(file)
    try:
        seen = SeenClasses.from_facts(facts, "") if "format" in facts else None
    except ValueError as error:
        raise InputError(f"{file} has a damaged header ({error}); restore it, or train the run again") from error
    with file.open("rb") as content:
        sha256 = hashlib.file_digest(content, "sha256").hexdigest()
    noted = _noted(folder)
    if noted is not None and noted.get("sha256") != sha256:
        raise InputError(f"{file} has changed since {folder.path} was begun; restore it, or begin in another folder")
    return Start(file, sha256, seen or _NOT_KNOWN, tensors)


def seen_before(folder: RunFolder) -> SeenClasses | None:
    """Classes that the weights which a run started from had learned from; None where it started untrained.

    Raises:
        InputError: if the note in its folder is damaged.
    """
    noted = _noted(folder)
    if noted is None:
        return None
    try:
        return SeenClasses.from_facts(noted["seen"], "")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{folder.start} is damaged ({error}); restore it, or train the run again") from error


def _noted(folder: RunFolder) -> dict[str, Any] | None:
    if not folder.start.exists():
        return None
    noted = read_json(folder.start)
    if not isinstance(noted, dict):
        raise InputError(f"{folder.start} is damaged; restore it, or train the run again")
    return noted


def _file(path: Path, seed: int) -> Path:
    place = seed_folder(path, seed) if path.name and not path.exists() else path
    for name in ("", ENCODER, EXPORTED[1]):
        file = place / name
        if file.is_file():
            return file
    if place.is_dir():
        raise InputError(f"{_KEY} = {str(path)!r}: {place} holds no {ENCODER} or {EXPORTED[1]}; name a finished run")
    raise InputError(
        f"{_KEY} = {str(path)!r}: there is no such file or folder, nor {seed_folder(path, seed)}; name a run folder, or a file "
        "of weights"
    )

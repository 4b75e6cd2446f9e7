"""The facts in the header of a file of weights, checked before they are believed."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from metatc2.errors import InputError
from metatc2.io.files import printable
from metatc2.io.plain_text import visible
from metatc2.io.safetensors_file import tensors_sha256

_LARGEST = 2**31  # of steps, images and classes: what is larger was not written by us


@dataclass(frozen=True)
class Header:
    """What the header of a file of weights says; None and empty where it says nothing.

    Args:
        channels, image_size: of the images that the encoder takes.
        steps, seconds: what training cost.
        classes: of the data.
        class_names: of the images that were trained on; None where unknown.
        source: that they came from.
        fingerprint: of the configuration.
        beside: checksums of the tensors in other files of the run, by the files' stems.
    """

    channels: int | None = None
    image_size: int | None = None
    steps: int | None = None
    seconds: float | None = None
    classes: int | None = None
    class_names: tuple[str, ...] | None = None
    source: str | None = None
    fingerprint: str | None = None
    beside: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, facts: Mapping[str, str], tensors: Mapping[str, Tensor], file: Path) -> Header:
        """Read the facts of a file.

        Args:
            facts: as they stand in the header, all texts.
            tensors: of the file; facts and tensors together have a checksum (files of older versions have none).
            file: for errors.

        Raises:
            InputError: if the checksum does not hold, or a fact is not of its kind.
        """
        fix = "restore it, or train the run again"
        if "sha256" in facts and facts["sha256"] != _checksum(facts, tensors):
            raise InputError(f"{file} is damaged: its weights or its header are not what was written; {fix}")
        try:
            return cls(
                channels=_whole(facts, "channels"),
                image_size=_whole(facts, "image_size", 2**15),
                steps=_whole(facts, "steps"),
                seconds=_seconds(facts),
                classes=_whole(facts, "classes"),
                class_names=_texts(facts, "class_names"),
                source=facts.get("source"),
                fingerprint=facts.get("fingerprint"),
                beside=_table(facts, "beside"),
            )
        except (ValueError, TypeError, RecursionError) as error:
            raise InputError(f"{file} has a damaged header ({visible(str(error))[:300]}); {fix}") from error


def encode_module(module: nn.Module, facts: Mapping[str, Any]) -> bytes:
    """A module's tensors and facts as a file of weights.

    Args:
        module: its tensors may share memory; each is written whole.
        facts: numbers, texts, and lists and tables of them, which become JSON.

    Raises:
        InputError: if the module's state holds something else than tensors, or a kind of tensor that safetensors has not.
    """
    state = module.state_dict()
    if odd := [name for name, value in state.items() if not isinstance(value, Tensor)]:
        raise InputError(
            f"{type(module).__name__}: its state {odd[0]!r} is a {type(state[odd[0]]).__name__} and no tensor; files of "
            "weights hold tensors alone"
        )
    return encode_tensors(state, facts, type(module).__name__)


def encode_tensors(state: Mapping[str, Tensor], facts: Mapping[str, Any], what: str) -> bytes:
    """Tensors and facts as a file of weights.

    Args:
        state: by name; each tensor is written whole.
        facts: see `encode_module`.
        what: they are of, for the error.

    Raises:
        InputError: if safetensors has not their kind.
    """
    tensors = own_tensors(state)
    header = {key: _text(value) for key, value in facts.items()}
    header["sha256"] = _checksum(header, tensors)
    try:
        return save_tensors(tensors, header)
    except (SafetensorError, KeyError, ValueError, RuntimeError, NotImplementedError) as error:
        raise InputError(f"{what} cannot be written as safetensors ({visible(str(error))[:300]})") from error


def module_tensors(module: nn.Module) -> dict[str, Tensor]:
    """The tensors of a module's state, each with memory of its own."""
    return own_tensors(module.state_dict())


def own_tensors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, each with memory of its own."""
    return {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}


def _checksum(facts: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    covered = {key: value for key, value in facts.items() if key != "sha256"}
    words = f"{json.dumps(covered, sort_keys=True)} {tensors_sha256(dict(tensors))}"
    return hashlib.sha256(words.encode()).hexdigest()


def _text(value: Any) -> str:
    return printable(value) if isinstance(value, str) else json.dumps(value)


def _whole(facts: Mapping[str, str], key: str, limit: int = _LARGEST) -> int | None:
    if key not in facts:
        return None
    number = int(facts[key]) if len(facts[key]) < 20 else limit
    if not 0 <= number < limit:
        raise ValueError(f"{key} = {facts[key][:30]}")
    return number


def _seconds(facts: Mapping[str, str]) -> float | None:
    if "seconds" not in facts:
        return None
    number = float(facts["seconds"])
    if not (math.isfinite(number) and number >= 0):
        raise ValueError(f"seconds = {number}")
    return number


def _texts(facts: Mapping[str, str], key: str) -> tuple[str, ...] | None:
    if key not in facts:
        return None
    texts = json.loads(facts[key])
    if not isinstance(texts, list) or not all(isinstance(item, str) for item in texts):
        raise TypeError(f"{key} must be a list of texts")
    return tuple(texts)


def _table(facts: Mapping[str, str], key: str) -> dict[str, str]:
    table = json.loads(facts.get(key, "{}"))
    if not isinstance(table, dict) or not all(isinstance(item, str) for item in table.values()):
        raise TypeError(f"{key} must be a table of texts")
    return table

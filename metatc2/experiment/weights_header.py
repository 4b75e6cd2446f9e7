"""The facts in the header of a file of weights, checked before they are believed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from metatc2.errors import InputError
from metatc2.io.plain_text import visible
from metatc2.io.weights_file import checksum

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
        if "sha256" in facts and facts["sha256"] != checksum(facts, tensors):
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

"""What a protocol is given, and what it gives back."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from metatc2.ops.numbers import real, reals, whole, wholes
from metatc2.transfer.adaptation import Adapts
from metatc2.transfer.feature_table import FeatureTable
from metatc2.transfer.targets import Target


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a person may choose about the protocols; each reads what it needs.

    Args:
        ways: classes an episode.
        shots: labelled images a class.
        query: images to classify a class, at most.
        episodes: few-shot episodes a row, at least 2.
        heads: of `metatc2.transfer.HEADS`.
        ks: neighbours of k-NN and ranks of recall; clamped to the bank.
        temperature: of the k-NN vote.
        fractions: shares of the labels, semi-supervised.
        fine_tune_steps: of each fine-tuning.
        fine_tune_in_train_mode: whether an encoder that is wholly in eval mode is put into train mode to be fine-tuned.
        fit: whether few-shot takes fewer classes and shots where a target has too few, which its rows then say; else that
            is an error.
    """

    ways: Sequence[int] = (5,)
    shots: Sequence[int] = (1, 5)
    query: int = 15
    episodes: int = 600
    heads: Sequence[str] = ("cosine", "euclidean")
    ks: Sequence[int] = (200, 20)
    temperature: float = 0.1
    fractions: Sequence[float] = (0.01, 0.1)
    fine_tune_steps: int = 5000
    fine_tune_in_train_mode: bool = False
    fit: bool = False

    def __post_init__(self) -> None:
        checked: dict[str, Any] = {
            "ways": wholes(self.ways, "transfer: ways", 2),
            "shots": wholes(self.shots, "transfer: shots", 1),
            "query": whole(self.query, "transfer: query", 1),
            "episodes": whole(self.episodes, "transfer: episodes", 2, fix="; fewer give no interval"),
            "ks": wholes(self.ks, "transfer: ks", 1),
            "temperature": real(self.temperature, "transfer: temperature", above=0),
            "fractions": reals(self.fractions, "transfer: fractions", above=0, most=1, fix="; 1 % is 0.01"),
            "fine_tune_steps": whole(self.fine_tune_steps, "transfer: fine_tune_steps", 1),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)


@dataclass(frozen=True)
class Subject:
    """A target, the encoders that are judged on it, and how.

    Args:
        target: what to transfer to.
        table: features of its images under every encoder, raw pixels among them.
        options: see `Options`.
        learners: by name: learners that adapt to every few-shot episode.
        device: where modules run; None: where they lie.
    """

    target: Target
    table: FeatureTable
    options: Options
    learners: Mapping[str, Adapts] = field(default_factory=dict)
    device: torch.device | str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Of the encoders, in the order of the rows."""
        return tuple(self.table.encoders)

    def labels(self, rows: Tensor) -> Tensor:
        """Labels of rows of the target's store."""
        return self.target.store.labels[rows]


@dataclass(frozen=True)
class Measured:
    """One row to be.

    Args:
        facts: fields of `metatc2.transfer.Row` that the protocol decides; ``features`` is one of them.
        values: float64 ``(n,)``: accuracy of each episode or image; the row's mean is theirs.
        used: rows of the store that were used, for the row's checksum.
        strata: int64 ``(n,)``, where the mean is one over classes or domains and values are weighted for it.
    """

    facts: Mapping[str, Any]
    values: Tensor
    used: Tensor
    strata: Tensor | None = None


Protocol = Callable[[Subject], Iterable[Measured]]


def target_seed(*parts: object) -> int:
    """A seed that follows from names: the same in every run and on every machine.

    >>> target_seed("glyphs:greek", 5, 1)
    2692315376
    """
    text = "|".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:4], "big")

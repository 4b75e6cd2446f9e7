"""What a protocol is: an object whose fields are its options, which measures encoders on a target."""

from __future__ import annotations

import dataclasses
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from metatc2.errors import InputError
from metatc2.io.options.signature import hints_of
from metatc2.ops.ranks import ALONE, Ranks
from metatc2.transfer.adapted_episodes import Adapts
from metatc2.transfer.feature_table import FeatureTable
from metatc2.transfer.protocols._checks import checked
from metatc2.transfer.sampling import Episodes
from metatc2.transfer.targets import Target


@dataclass(frozen=True)
class Subject:
    """A target, and the encoders that are measured on it.

    Args:
        target: what to transfer to.
        table: features of its images under every encoder, raw pixels among them.
        learners: by name: learners that adapt to every few-shot episode.
        device: where modules run; None: where they lie.
        ranks: processes that share the episodes.
    """

    target: Target
    table: FeatureTable
    learners: Mapping[str, Adapts] = field(default_factory=dict)
    device: torch.device | str | None = None
    ranks: Ranks = ALONE

    def per_episode(self, measure: Callable[[Episodes], Tensor], episodes: Episodes) -> Tensor:
        """One number an episode, each measured by one of the processes and known to all.

        Args:
            measure: some episodes → ``(E,)``, on the CPU.
            episodes: at least one.

        Raises:
            InputError: on all processes, where one of them raises it.
        """
        if self.ranks.size > len(episodes):
            return measure(episodes)
        own, failed = None, None
        try:
            own = measure(episodes.part(self.ranks.part(len(episodes))))
        except InputError as error:
            failed = error
        if self.ranks.any(own is None) or own is None:
            raise failed or InputError(
                "episodes of another process cannot be measured; what it said is in its own output"
            )
        return self.ranks.gather_cpu(own)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the encoders, in the order of the rows."""
        return tuple(self.table.encoders)

    def labels(self, rows: Tensor) -> Tensor:
        """Labels of rows of the target's store."""
        return self.target.store.labels[rows]


@dataclass(frozen=True)
class Measured:
    """What a protocol says of one encoder: one row of the results.

    Args:
        features: name of the encoder.
        values: float64 ``(n,)``: accuracy in [0, 1] of each episode or image, or what `metric` says; the row's mean is theirs.
        used: rows of the store that were used, for the row's checksum.
        facts: the protocol's own facts, of those that it declares.
        metric: what `values` are.
        inductive: whether each query was classified by itself.
        note: what differs from what was asked for, as a sentence.
        strata: int64 ``(n,)``, where the mean is one over classes or domains and values are weighted for it.
    """

    features: str
    values: Tensor
    used: Tensor
    facts: Mapping[str, Any] = field(default_factory=dict)
    metric: str = "accuracy"
    inductive: bool = True
    note: str = ""
    strata: Tensor | None = None


class Protocol(ABC):
    """A way to measure transfer. A frozen dataclass: its fields are its options, and it is told apart by them.

    Options that are numbers, text, switches or lists of them are keys of its section of a configuration,
    ``[transfer.NAME]``: the line of an option in the docstring (``Args:``) documents its key, and what it is annotated with,
    ``ks: Sequence[Annotated[int, Field(ge=1)]]``, is the range of both. A field whose metadata are
    `metatc2.io.options.NO_OPTION` is no key.

    A new one is a file that registers a class of this kind (see `metatc2.transfer.protocols.registry.register_protocol`):

        @register_protocol("nearest-mean")
        @dataclass(frozen=True, kw_only=True)
        class NearestMean(Protocol):
            facts = ("query",)

            def run(self, subject):
                ...
                yield Measured(name, correct, rows, {"query": len(rows)})
    """

    #: Name by which it is registered.
    name: ClassVar[str] = ""
    #: Names of the facts that its rows may have beside what every row has; see `metatc2.transfer.Row`.
    facts: ClassVar[tuple[str, ...]] = ()
    #: Whether it changes images or trains encoders on them, for which features alone do not do.
    needs_images: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check the options by what they are annotated with; lists become tuples.

        Raises:
            InputError: if one is out of range.
        """
        hints = hints_of(type(self))
        options: tuple[dataclasses.Field[Any], ...] = dataclasses.fields(self) if dataclasses.is_dataclass(self) else ()
        for option in options:
            value = checked(getattr(self, option.name), hints.get(option.name), f"transfer: {option.name}")
            object.__setattr__(self, option.name, value)

    @abstractmethod
    def run(self, subject: Subject) -> Iterable[Measured]:
        """Measure every encoder of the subject on its target.

        Raises:
            InputError: if it cannot be run on the target, or features are not finite.
        """

    def check(self, target: Target) -> tuple[str, ...]:
        """Look at labels and names only: what will differ from what was asked for, as the ends of sentences.

        Raises:
            InputError: if it cannot be run on the target.
        """
        if target.store.name.startswith("clips:"):
            raise InputError(
                f"transfer: {target.store.name} holds clips, whose frames would stand on both sides of {self.name}; use "
                "--protocol clips"
            )
        if self.needs_images and target.store.name.startswith("features:"):
            raise InputError(
                f"transfer: {target.store.name} holds features, and {self.name} needs images; choose a protocol on features, "
                "such as few-shot, knn or linear"
            )
        return ()


def target_seed(*parts: object) -> int:
    """A seed that follows from names: the same in every run and on every machine.

    >>> target_seed("glyphs:greek", 5, 1)
    2692315376
    """
    text = "|".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:4], "big")

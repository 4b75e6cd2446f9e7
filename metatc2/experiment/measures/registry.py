"""The names of measures, and what one is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from metatc2.io import registries
from metatc2.io.registry import Registry


@dataclass(frozen=True)
class Seen:
    """Features of some images, on the CPU.

    Args:
        features: ``(N, d)``, of images as they are.
        bank, queries: float ``(B, d)`` and ``(Q, d)``, and `bank_labels`, `query_labels`, ``(B,)`` and ``(Q,)``: two parts of
            labeled images; None where no class has two of them.
        views: ``(n, q, d)``, q views of each of n images; None where no measure that is asked for needs them.
        neighbors: k of the probe.
    """

    features: Tensor
    bank: Tensor | None = None
    bank_labels: Tensor | None = None
    queries: Tensor | None = None
    query_labels: Tensor | None = None
    views: Tensor | None = None
    neighbors: int = 5


#: From features to a number; None where it cannot be had of these images.
Measure = Callable[[Seen], float | None]
Kind = TypeVar("Kind", bound=Measure)

MEASURES: Registry[Measure] = registries.MEASURES


def register_measure(name: str) -> Callable[[Kind], Kind]:
    """Decorator of a `Measure`, which then is a name of ``--monitor`` and of `metatc2.experiment.online.Online`.

    Args:
        name: see `metatc2.io.registry.Registry.register`.

    Raises:
        InputError: if the name is taken.
    """
    return MEASURES.register(name)  # type: ignore[return-value]  # it returns the very thing that it is given

"""Projectors that are told, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from torch import nn

from metatc2.conditioning.base import ToldProjector
from metatc2.io import registries
from metatc2.io.registry import Registry
from metatc2.models.heads import Activation, Projector

#: Over what norms take their statistics.
Statistics = Literal["episode", "task"]


@dataclass(frozen=True)
class ToldSettings:
    """What a projector that is told is built from; each takes what it needs.

    Args:
        dim, hidden, out, layers, activation, norm_out: of the `Projector`.
        kinds: how many kinds of task there are.
        conditions: width of their descriptions.
        statistics: of the norms of `ConditionedProjector`, over the ``"episode"`` or within each ``"task"``.
        factors, orthogonality, l1, speed: of `LearnedMasks`.
        shared: of `split_masks`.
        kept: of `random_masks`.
        generator: V and random masks are drawn from it; layers are drawn from torch's own.
    """

    dim: int
    hidden: int
    out: int
    kinds: int
    conditions: int = 0
    layers: int = 2
    activation: Activation = nn.ReLU
    norm_out: bool = False
    statistics: Statistics = "episode"
    factors: int | None = None
    orthogonality: float = 1.0
    l1: float = 0.0
    speed: float = 10.0
    shared: float = 0.25
    kept: float = 0.5
    generator: torch.Generator | None = None

    @property
    def options(self) -> dict[str, Any]:
        """Arguments of the `Projector` but for its sizes."""
        return {"layers": self.layers, "activation": self.activation, "norm_out": self.norm_out}

    @property
    def projector(self) -> Projector:
        """A new one that all kinds share."""
        return Projector(self.dim, self.hidden, self.out, **self.options)


Build = Callable[[ToldSettings], ToldProjector]
TOLD: Registry[Build] = registries.TOLD
Made = TypeVar("Made", bound=Build)


def register_projector(name: str) -> Callable[[Made], Made]:
    """Decorator of a function (or class) from `ToldSettings` to a `ToldProjector`, which then can be chosen by its name.

    Args:
        name: see `Registry.register`.

    Raises:
        InputError: if the name is taken.
    """
    return TOLD.register(name)  # type: ignore[return-value]  # it returns the very thing that it is given


def build_told(name: str, settings: ToldSettings) -> ToldProjector:
    """A projector that is told, by name.

    Args:
        name: one of `TOLD`.
        settings: sizes and options.

    Raises:
        InputError: if the name is unknown, or the projector cannot be built from the settings.

    >>> type(build_told("film", ToldSettings(64, 256, 128, kinds=4))).__name__
    'ConditionedProjector'
    >>> build_told("head", ToldSettings(64, 256, 128, kinds=4))
    Traceback (most recent call last):
    metatc2.errors.InputError: unknown projector 'head'; did you mean 'heads'? Known: ...
    """
    return TOLD[name](settings)

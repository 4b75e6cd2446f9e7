"""Projectors that are told, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from metatc2.conditioning.base import ToldProjector
from metatc2.conditioning.conditioned import ConditionedProjector, How, On, Statistics
from metatc2.conditioning.fixed_masks import FixedMasks
from metatc2.conditioning.heads import TaskHeads
from metatc2.conditioning.linear_maps import LinearMaps
from metatc2.conditioning.masks import Form, LearnedMasks
from metatc2.conditioning.random_masks import random_masks
from metatc2.conditioning.split import split_masks
from metatc2.errors import InputError, nearest
from metatc2.models.heads import Activation, Projector


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


def _conditioned(how: How, on: On) -> Build:
    return lambda s: ConditionedProjector(
        s.dim,
        s.hidden,
        s.out,
        kinds=s.kinds,
        conditions=s.conditions,
        on=on,
        how=how,
        statistics=s.statistics,
        **s.options,
    )


def _masks(how: Form) -> Build:
    return lambda s: LearnedMasks(
        s.projector,
        s.dim,
        kinds=s.kinds,
        how=how,
        factors=s.factors,
        orthogonality=s.orthogonality,
        l1=s.l1,
        speed=s.speed,
        generator=s.generator,
    )


TOLD: dict[str, Build] = {
    "heads": lambda s: TaskHeads(s.dim, s.hidden, s.out, kinds=s.kinds, **s.options),
    "concatenate": _conditioned("concatenate", "kind"),
    "concatenate-conditions": _conditioned("concatenate", "conditions"),
    "film": _conditioned("film", "kind"),
    "film-conditions": _conditioned("film", "conditions"),
    "unconditioned": _conditioned("none", "kind"),
    "mask-sigmoid": _masks("sigmoid"),
    "mask-softmax": _masks("softmax"),
    "mask-sparse": _masks("sparse"),
    "linear-map": lambda s: LinearMaps(
        s.projector,
        s.dim,
        kinds=s.kinds,
        factors=s.factors or max(1, 3 * s.dim // 4),
        orthogonality=s.orthogonality,
        speed=s.speed,
        generator=s.generator,
    ),
    "split": lambda s: FixedMasks(s.projector, split_masks(s.dim, s.kinds, s.shared)),
    "random-masks": lambda s: FixedMasks(s.projector, random_masks(s.dim, s.kinds, s.kept, generator=s.generator)),
}


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
    if name not in TOLD:
        raise InputError(f"unknown projector {name!r}; {nearest(name, TOLD)}")
    return TOLD[name](settings)

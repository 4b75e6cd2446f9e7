"""Representations of an episode, and the arguments of those who make them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypedDict

from torch import Tensor, nn

from metatc2.learners.side_information import NOTHING, SideInformation
from metatc2.objectives.auxiliary import Auxiliary
from metatc2.objectives.regularizers import Regularizer

Where = Literal["backbone", "projector"]
Statistics = Literal["episode", "task"]  # where an outer loss takes negatives and batch statistics from


@dataclass(frozen=True)
class Branches:
    """Representations of an episode.

    Args:
        raw: ``(tasks, samples, views, d)`` where z lives, before standardization.
        online: z, with gradient.
        target: z of the momentum branch, without; None unless the objective has one.
        told: what heads are told beside z.
    """

    raw: Tensor
    online: Tensor
    target: Tensor | None
    told: SideInformation = NOTHING


class Branch(TypedDict, total=False):
    """Arguments of a `SelfSupervised` that keeps tasks apart, see there."""

    predictor: nn.Module | None
    where: Where
    momentum: float
    regularizer: Regularizer | None
    weight: float | None
    auxiliary: Auxiliary | None
    auxiliary_weight: float | None

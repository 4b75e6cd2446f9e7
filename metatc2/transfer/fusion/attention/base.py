"""What an attention over encoders is: how aligned features of K encoders become one vector."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from metatc2.errors import InputError

Params = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class AttentionSizes:
    """What an `Attention` is built from.

    Args:
        encoders: K.
        width: of the aligned features.
        temperature: τ that scores are divided by before they become weights.
        heads: of the attention that has several.
        queries: of the attention that learns them.
    """

    encoders: int
    width: int
    temperature: float = 1.0
    heads: int = 4
    queries: int = 4

    def slices(self, count: int, what: str) -> int:
        """Width of each of so many slices of the aligned features.

        Raises:
            InputError: if they cannot be cut so.
        """
        if self.width % count:
            raise InputError(
                f"fusion: {what}={count} slices do not divide the width {self.width}; choose a width that is a multiple"
            )
        return self.width // count


class Attention(ABC):
    """Weights over encoders, and the features that they make.

    Parameters are given, not held: a leading axis of B independent fits goes through all of them, so that the folds and
    candidates of a cross-validation are trained as one.

    Args:
        sizes: see `AttentionSizes`.
    """

    #: Name by which it is registered.
    name: ClassVar[str] = ""

    def __init__(self, sizes: AttentionSizes) -> None:
        self.sizes = sizes

    @abstractmethod
    def initial(self, generator: torch.Generator) -> Params:
        """Trained parameters of one fit, as they are at the start, where every encoder has the same weight."""

    def constants(self, generator: torch.Generator) -> Params:
        """Parameters of one fit that are not trained."""
        return {}

    @abstractmethod
    def combine(self, p: Params, h: Tensor) -> tuple[Tensor, Tensor]:
        """Fuse.

        Args:
            p: parameters, ``(B, ...)`` each.
            h: aligned features ``(B, n, K, width)``.

        Returns:
            z ``(B, n, width)`` and the weights ``(B, n, K)``, not negative, whose sum over encoders is 1.
        """


def value_of(p: Params, z: Tensor) -> Tensor:
    """``V z``: the value projection, which is linear and so may follow the sum over encoders."""
    result: Tensor = z @ p["value"]
    return result

"""What a baseline of fusion is, and what several have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from metatc2.transfer.fusion.labeled import Fitted, LabeledSet


class Baseline(ABC):
    """A way to learn from the features of several encoders; it is made without arguments."""

    #: Name by which it is registered.
    name: ClassVar[str] = ""

    @abstractmethod
    def fit(self, labeled: LabeledSet, generator: torch.Generator) -> Fitted:
        """Learn from labels.

        Args:
            labeled: features and labels; whatever is chosen is chosen inside them.
            generator: of everything random.
        """


def one_encoder(labeled: LabeledSet, k: int) -> Fitted:
    """The logistic regression on encoder k, whose weight is 1."""
    alone = labeled.alone(k)
    weights = torch.eye(labeled.encoders)[k]
    return Fitted(
        lambda features: alone.logits(labeled.standardized(features)[k]).float(), constant(weights), {"C": alone.c}
    )


def constant(weights: Tensor) -> Callable[[Sequence[Tensor]], Tensor]:
    """The same weights ``(K,)`` over encoders for every image, ``(q, K)``."""

    def same(features: Sequence[Tensor]) -> Tensor:
        return weights.expand(len(features[0]), -1)

    return same

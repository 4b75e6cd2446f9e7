"""How weights and factors meet the representation: ``c(z, W, V)``, of the shape of z."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

Compose = Callable[[Tensor, Tensor, Tensor], Tensor]


def project(z: Tensor, weights: Tensor, factors: Tensor) -> Tensor:
    """``W V``: what the factors hold, in place of z."""
    return weights @ factors


def add(z: Tensor, weights: Tensor, factors: Tensor) -> Tensor:
    """``z + W V``."""
    return z + weights @ factors


def gate(z: Tensor, weights: Tensor, factors: Tensor) -> Tensor:
    """``z ⊙ 2σ(W V)``."""
    return z * (2 * (weights @ factors).sigmoid())


@dataclass(frozen=True)
class Shuffled:
    """A control: every sample is calibrated by the weights of its neighbor in the batch.

    >>> import torch
    >>> z, weights = torch.zeros(1, 2, 1, 3), torch.tensor([[[[1.0]], [[5.0]]]])
    >>> Shuffled(add)(z, weights, torch.ones(1, 3))[0, :, 0, 0].tolist()
    [5.0, 1.0]
    """

    compose: Compose

    def __call__(self, z: Tensor, weights: Tensor, factors: Tensor) -> Tensor:
        """As `compose`, with the weights one sample further."""
        return self.compose(z, weights.roll(1, 1), factors)

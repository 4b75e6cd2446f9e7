"""What an auxiliary loss is given, and what it must be."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from metatc2.augment.descriptor import DESCRIPTOR_SIZE
from metatc2.errors import InputError


class Auxiliary(nn.Module, ABC):
    """A loss beside the objective, of the encoder's output and the descriptors of the views; its heads are trained with it.

    Args of a subclass: `dim`, width of the encoder's output, and numbers that become its options.

    >>> class Small(Auxiliary):
    ...     name = "small"
    ...
    ...     def __init__(self, dim):
    ...         super().__init__()
    ...         self.head = nn.Linear(dim, DESCRIPTOR_SIZE)
    ...
    ...     def loss(self, z, descriptors):
    ...         return (self.head(z) - descriptors).square().mean()
    >>> import torch
    >>> Small(4)(torch.zeros(1, 3, 2, 4), torch.zeros(1, 3, 2, DESCRIPTOR_SIZE)).shape
    torch.Size([])
    """

    name: ClassVar[str]
    #: By default; that of the paper.
    weight: ClassVar[float] = 1.0
    #: Whether it compares images whose views were made alike.
    shared_descriptors: ClassVar[bool] = False

    @abstractmethod
    def loss(self, z: Tensor, descriptors: Tensor) -> Tensor:
        """A scalar, of ``(tasks, samples, views, dim)`` and ``(tasks, samples, views, P)``."""

    def forward(self, z: Tensor, descriptors: Tensor) -> Tensor:
        """See `loss`.

        Raises:
            InputError: if shapes do not fit, or there is one view alone.
        """
        wanted = (*z.shape[:3], DESCRIPTOR_SIZE)
        if z.ndim != 4 or descriptors.shape != wanted:
            raise InputError(
                f"{type(self).__name__} needs representations (tasks, samples, views, d) and descriptors (tasks, samples, "
                f"views, {DESCRIPTOR_SIZE}), found {tuple(z.shape)} and {tuple(descriptors.shape)}; give those of "
                "metatc2.augment.Views"
            )
        if z.shape[2] < 2:
            raise InputError(f"{type(self).__name__} needs 2 views of a sample or more, found {z.shape[2]}")
        return self.loss(z, descriptors)


def regressor(inputs: int, hidden: int, out: int) -> nn.Sequential:
    """Three linear layers with batch normalization and ReLU between them, on ``(N, inputs)``."""
    parts: list[nn.Module] = []
    for width in (inputs, hidden):
        parts += [nn.Linear(width, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU()]
    return nn.Sequential(*parts, nn.Linear(hidden, out))

"""What a regularizer of representations is given, and what it must be."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from metatc2.errors import InputError
from metatc2.ops.precision import standardized


class Regularizer(nn.Module, ABC):
    """What a representation shall look like, whatever the objective: its distribution over all samples of an episode.

    Unlike an `Objective` it sees no task by itself. Like one it is out of place and twice differentiable. It has no state: what
    is random in it follows from the step.

    >>> class Small(Regularizer):
    ...     name = "small"
    ...
    ...     def forward(self, z, step):
    ...         return z.square().mean()
    >>> import torch
    >>> Small()(torch.ones(3, 8, 2, 4), step=0).item(), Small.weight
    (1.0, 0.03)
    """

    name: ClassVar[str]
    # Whether a learner gives it the representation standardized over the episode.
    standardized: ClassVar[bool] = False
    # By default; not yet tuned, in no regularizer.
    weight: ClassVar[float] = 0.03

    @abstractmethod
    def forward(self, z: Tensor, step: int) -> Tensor:
        """Value of a representation, a scalar of the order of 1, small where it is as it should be.

        Args:
            z: ``(tasks, samples, views, d)``.
            step: number of the training step, at least 0.
        """


def over_episode(z: Tensor) -> Tensor:
    """Zero mean and unit variance of every dimension over all tasks, samples and views.

    Args:
        z: ``(tasks, samples, views, d)``.

    Raises:
        InputError: if the shape is another.

    >>> import torch
    >>> over_episode(torch.rand(2, 3, 2, 4)).square().mean().round().item()
    1.0
    """
    flat = standardized(checked(z).flatten(0, 2))
    back: Tensor = flat.unflatten(0, z.shape[:3])
    return back


def by_view(z: Tensor) -> Tensor:
    """The samples of all tasks together, view by view: views of one sample are no two samples.

    Args:
        z: ``(tasks, samples, views, d)``.

    Returns:
        ``(views, tasks · samples, d)``.

    Raises:
        InputError: if the shape is another.

    >>> import torch
    >>> by_view(torch.zeros(3, 8, 2, 4)).shape
    torch.Size([2, 24, 4])
    """
    return checked(z).flatten(0, 1).transpose(0, 1)


def checked(z: Tensor) -> Tensor:
    """The representation, if it is of shape ``(tasks, samples, views, d)``.

    Raises:
        InputError: if the shape is another.
    """
    if z.ndim != 4:
        raise InputError(f"a representation must be of shape (tasks, samples, views, d), found {tuple(z.shape)}")
    return z

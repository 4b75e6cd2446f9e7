"""What an objective is given, and what it must be."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from metatc2.errors import InputError


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Everything an objective may look at, for all tasks of an episode.

    Args:
        projections: ``(tasks, samples, views, D)``, the projector's output, with gradient.
        predictions: the same shape, the predictor's output; for objectives with ``predictor = True``.
        targets: the same shape, projections of the momentum branch, without gradient; for those with
            ``momentum = True``.
        answers: ``(tasks, samples, views, A)``, what `Objective.prepare` took from the images for the loss to ask for; None
            where it took nothing.
    """

    projections: Tensor
    predictions: Tensor | None = None
    targets: Tensor | None = None
    answers: Tensor | None = None

    def detach(self) -> Embeddings:
        """The same values without their graph."""
        parts = (self.projections, self.predictions, self.targets, self.answers)
        first, *others = (part if part is None else part.detach() for part in parts)
        assert first is not None
        return Embeddings(first, *others)


class Objective(nn.Module, ABC):
    """A self-supervised loss, task by task: negatives and batch statistics never cross tasks.

    Write `per_task`, out of place and without changing any state: it is called several times an episode inside an inner
    loop and differentiated twice. State moves in `update`.

    >>> import torch
    >>> class Distance(Objective):
    ...     name = "distance"
    ...
    ...     def per_task(self, e):
    ...         z1, z2 = pair(e.projections)
    ...         return (z1 - z2).square().mean((-2, -1))
    >>> Distance()(Embeddings(torch.ones(3, 8, 2, 4))).item()
    0.0
    """

    name: ClassVar[str]
    # As papers write it, where the class is called otherwise.
    title: ClassVar[str] = ""
    predictor: ClassVar[bool] = False
    momentum: ClassVar[bool] = False
    # Whether it compares two views of each sample. Others make their own images of the first view, in `prepare`.
    two_views: ClassVar[bool] = True
    # Whether the method's projector ends in a norm.
    normalized_projector: ClassVar[bool] = False
    # Two, for all: one sample has no negatives, and batch statistics (the objective's or the heads') say nothing of it.
    min_samples: int = 2

    def prepare(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """What the encoder is given in place of the images, and what the loss will ask for; by default the images, and nothing.

        Args:
            images: ``(tasks, samples, views, C, H, W)`` in [0, 1].

        Returns:
            Images ``(tasks, samples, views', C, H', W')``, made of the first view unless `two_views`, and `Embeddings.answers`
            or None.
        """
        return images, None

    @abstractmethod
    def per_task(self, e: Embeddings) -> Tensor:
        """Loss of every task, ``(tasks,)``."""

    def forward(self, e: Embeddings) -> Tensor:
        """Mean loss over the tasks, a scalar."""
        return self.per_task(e).mean()

    def update(self, e: Embeddings) -> None:
        """Called once after an optimizer step with the embeddings of that step; by default there is nothing to do."""

    def check(self, samples: int) -> None:
        """Whether a task of so many samples can be learned from.

        Raises:
            InputError: if it is too small.
        """
        if samples < self.min_samples:
            raise InputError(f"{self.name} needs at least {self.min_samples} samples a task, found {samples}.")


def pair(z: Tensor) -> tuple[Tensor, Tensor]:
    """The two views apart.

    Args:
        z: ``(..., samples, 2, D)``.

    Returns:
        Two tensors ``(..., samples, D)``.

    Raises:
        InputError: if there are not two views.

    >>> import torch
    >>> [tuple(view.shape) for view in pair(torch.zeros(4, 8, 2, 16))]
    [(4, 8, 16), (4, 8, 16)]
    """
    if z.ndim < 3 or z.shape[-2] != 2:
        raise InputError(f"embeddings must be of shape (tasks, samples, 2 views, D), found {tuple(z.shape)}")
    first, second = z.unbind(-2)
    return first, second


def given(z: Tensor | None, field: str, objective: Objective) -> Tensor:
    """`z`, when it is there.

    Raises:
        InputError: if the learner left out what the objective asks for.
    """
    if z is None:
        raise InputError(f"{objective.name} needs Embeddings.{field}, found None; the learner must provide them")
    return z


def positive(value: float, option: str, objective: str) -> float:
    """`value`, when it is above 0.

    Raises:
        InputError: if it is not.
    """
    if not value > 0:
        raise InputError(f"{objective}: {option} must be above 0, found {value}")
    return value


def not_negative(value: float, option: str, objective: str) -> float:
    """`value`, when it is at least 0.

    Raises:
        InputError: if it is not.
    """
    if not value >= 0:
        raise InputError(f"{objective}: {option} must be at least 0, found {value}")
    return value


def fraction(value: float, option: str, objective: str) -> float:
    """`value`, when it is from 0 to 1.

    Raises:
        InputError: if it is not.
    """
    if not 0 <= value <= 1:
        raise InputError(f"{objective}: {option} must be from 0 to 1, found {value}")
    return value

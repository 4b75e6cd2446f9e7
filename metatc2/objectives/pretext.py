"""What pretext tasks share: heads of their own on the projections, and questions about images that they make themselves."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn
from torch.nn.functional import log_softmax

from metatc2.errors import InputError
from metatc2.objectives.base import Embeddings, Objective
from metatc2.ops.numbers import whole
from metatc2.ops.precision import upcast


class Pretext(Objective):
    """An objective whose answers are known because the images were made to have them; it sees the first view of each sample.

    Write `prepare`, and `logits` of its questions; where the right answer to question q is not the class q, write `per_task`
    too. Heads are parameters of the objective, trained with the encoder and left out of what is exported.

    Args:
        dim: width D of the projections.

    Raises:
        InputError: if it is not a whole number above 0.
    """

    two_views = False
    #: Views of a sample that `prepare` makes.
    views: int

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = whole(dim, f"{self.name}: dim", 1)

    @abstractmethod
    def logits(self, z: Tensor) -> Tensor:
        """Scores of the classes for every question, ``(tasks, samples, questions, classes)``.

        Args:
            z: projections ``(tasks, samples, views, D)``.
        """

    def per_task(self, e: Embeddings) -> Tensor:
        """Loss of every task, ``(tasks,)``: cross-entropy of question q with class q."""
        with upcast(self.checked(e.projections)) as (z,):
            return -log_softmax(self.logits(z), -1).diagonal(dim1=-2, dim2=-1).mean((-1, -2))

    def checked(self, z: Tensor) -> Tensor:
        """The projections, if they are of what `prepare` makes.

        Raises:
            InputError: if their shape is another.
        """
        if z.ndim < 4 or tuple(z.shape[-2:]) != (self.views, self.dim):
            raise InputError(
                f"{self.name}: projections must be of shape (tasks, samples, {self.views} views, {self.dim}), found "
                f"{tuple(z.shape)}; give the encoder what prepare(images) makes, and the objective the projector's width as dim"
            )
        return z


def first_view(images: Tensor, objective: Objective) -> Tensor:
    """The first view of each sample.

    Args:
        images: ``(tasks, samples, views, C, H, W)``.
        objective: that asks, for the error.

    Returns:
        ``(tasks, samples, C, H, W)``.

    Raises:
        InputError: if these are no images.
    """
    if images.ndim != 6:
        raise InputError(
            f"{objective.name} needs images (tasks, samples, views, channels, height, width), found {tuple(images.shape)}"
        )
    return images[:, :, 0]


def head(columns: int, hidden: int, classes: int) -> nn.Sequential:
    """A classifier with one hidden layer, on what several views are together.

    >>> import torch
    >>> head(8, 16, 3)(torch.zeros(2, 8)).shape
    torch.Size([2, 3])
    """
    return nn.Sequential(nn.Linear(columns, hidden), nn.ReLU(), nn.Linear(hidden, classes))

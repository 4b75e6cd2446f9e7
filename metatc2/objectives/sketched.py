"""Random directions of a step, and what objectives share that look at embeddings along them."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import torch
from torch import Tensor

from metatc2.errors import InputError
from metatc2.objectives.base import Embeddings, Objective, fraction, not_negative, pair, positive
from metatc2.ops.precision import upcast


def directions(z: Tensor, slices: int, *, step: int, seed: int = 0) -> Tensor:
    """Unit vectors, uniform on the sphere: the same whenever the seed, the step and the sizes are, on every device.

    Args:
        z: ``(..., D)``, what will be projected on them; they take its width, dtype and device.
        slices: how many.
        step: number of the training step, at least 0.
        seed: at least 0.

    Returns:
        ``(D, slices)``.

    Raises:
        InputError: if a number is too small.

    >>> z = torch.zeros(5, 3)
    >>> torch.equal(directions(z, 4, step=7), directions(z, 4, step=7))
    True
    >>> torch.equal(directions(z, 4, step=7), directions(z, 4, step=8))
    False
    """
    for value, what, least in ((slices, "slices", 1), (step, "step", 0), (seed, "seed", 0)):
        if value < least:
            raise InputError(f"random directions: {what} must be at least {least}, found {value}")
    # Drawn by numpy, for torch refuses to draw inside vmap, where the losses of many tasks are computed at once.
    drawn = np.random.default_rng((seed, step)).standard_normal((z.shape[-1], slices))
    return torch.as_tensor(drawn / np.linalg.norm(drawn, axis=0), dtype=z.dtype, device=z.device)


def view_variance(z: Tensor) -> Tensor:
    """Mean squared distance of the views of a sample to their mean, over samples, views and dimensions.

    The prediction loss of LeJEPA (arXiv 2511.08544), where all views are global. Of two views it is a quarter of VICReg's
    `invariance`.

    Args:
        z: ``(..., n, views, D)``.

    Returns:
        ``(...)``, one value a task.

    >>> view_variance(torch.tensor([[[1.0], [3.0]]])).item()
    1.0
    """
    with upcast(z) as (z,):
        return (z - z.mean(-2, keepdim=True)).square().mean((-3, -2, -1))


class Sketched(Objective):
    """``(1 − λ) view_variance + λ R``, with R of each view's embeddings along random directions, averaged over the views.

    The directions are those of the step: an inner loop that computes the loss several times in a step sees one function, and
    a run that is resumed goes on alike, for the count of steps is in the state dict. All tasks and views share them.

    Args:
        weight: λ, from 0 to 1.
        slices: number of directions.
        seed: of the directions.

    Raises:
        InputError: if an argument is out of range.
    """

    steps: Tensor

    def __init__(self, weight: float, slices: int, seed: int) -> None:
        super().__init__()
        self.weight = fraction(weight, "weight", self.name)
        self.slices = int(positive(slices, "slices", self.name))
        self.seed = int(not_negative(seed, "seed", self.name))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @abstractmethod
    def regularization(self, z: Tensor, step: int) -> Tensor:
        """R of samples ``(..., n, D)``: ``(...)``."""

    def per_task(self, e: Embeddings) -> Tensor:
        """Loss of every task, ``(tasks,)``."""
        z = torch.stack(pair(e.projections), -3)
        regularization = self.regularization(z, int(self.steps)).mean(-1)
        return (1 - self.weight) * view_variance(e.projections) + self.weight * regularization

    def update(self, e: Embeddings) -> None:
        """The next step has other directions."""
        self.steps = self.steps + 1

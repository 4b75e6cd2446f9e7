"""The samples of one side of an episode."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from metatc2.errors import InputError


# Not frozen: Lightning Fabric rebuilds what goes into a module, field by field.
@dataclass(eq=False)
class Samples:
    """One side of an episode, all tasks stacked.

    Args:
        images: ``(tasks, samples, views, C, H, W)``, float in [0, 1]; in tasks that are not about images, inputs
            ``(tasks, samples, views, ...)``.
        labels: ``(tasks, samples)``, int64 and task-local (0 to way − 1); float targets in regression tasks; None in
            self-supervised tasks.
        descriptors: ``(tasks, samples, views, P)``: how each view was made; None where views are not drawn.
        index: ``(tasks, samples)``: row in the store; −1 where there is no store.
        answers: ``(tasks, samples, views, A)``: what an objective took from the images to ask for; None before it did, and of
            objectives that do not.

    >>> import torch
    >>> side = Samples(torch.zeros(4, 8, 2, 3, 16, 16), None, None, torch.full((4, 8), -1))  # 4 tasks of 8 images, 2 views each
    >>> tuple(side.images.shape), side.labels is None
    ((4, 8, 2, 3, 16, 16), True)
    """

    images: Tensor
    labels: Tensor | None
    descriptors: Tensor | None
    index: Tensor
    answers: Tensor | None = None

    def map(self, f: Callable[[Tensor], Tensor]) -> Samples:
        """The same samples with `f` applied to every tensor."""
        return Samples(
            f(self.images),
            None if self.labels is None else f(self.labels),
            None if self.descriptors is None else f(self.descriptors),
            f(self.index),
            None if self.answers is None else f(self.answers),
        )

    def labeled(self) -> tuple[Tensor, Tensor]:
        """Inputs ``(tasks, samples · views, ...)`` and labels ``(tasks, samples · views)``: every view is a sample.

        Raises:
            InputError: if there are no labels.
        """
        if self.labels is None:
            raise InputError(
                "this learner needs labeled episodes and got self-supervised ones; sample them with LabeledTasks"
            )
        return self.images.flatten(1, 2), self.labels.repeat_interleave(self.images.shape[2], dim=1)

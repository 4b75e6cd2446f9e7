"""SIGReg (arXiv 2511.08544) as a regularizer of representations."""

from __future__ import annotations

from torch import Tensor

from metatc2.objectives.base import not_negative, positive
from metatc2.objectives.regularizers.base import Regularizer, by_view, over_episode
from metatc2.objectives.regularizers.registry import register_regularizer
from metatc2.objectives.sigreg import sigreg
from metatc2.ops.numbers import NotNegativeCount, PositiveCount
from metatc2.ops.precision import upcast


@register_regularizer("sigreg")
class SIGReg(Regularizer):
    """`metatc2.objectives.sigreg` of the representation, standardized over the episode, divided by n.

    Our reading: LeJEPA has it of the projector's embeddings as they are. The scale of a backbone's features, which follow a
    ReLU and pooling, is arbitrary, so every dimension is standardized first, and only shape and dependence count. Divided by
    the number of samples n it does not grow with the batch: it is about ``1 / n`` of Gaussian and independent features, and
    0.41 where all samples are alike. It is taken of the samples of all tasks, view by view, and averaged over the views.

    Args:
        slices: number of random directions, others in every step.
        seed: of the directions.

    Raises:
        InputError: if an argument is out of range.

    >>> import torch
    >>> z = torch.randn(4, 64, 2, 8, generator=torch.Generator().manual_seed(0))
    >>> line = z[..., :1].expand(-1, -1, -1, 8)  # all dimensions are copies of one
    >>> 10 * SIGReg()(5 * z, step=0) < SIGReg()(line, step=0)
    tensor(True)
    """

    def __init__(self, slices: PositiveCount = 256, seed: NotNegativeCount = 0) -> None:
        super().__init__()
        self.slices = int(positive(slices, "slices", self.name))
        self.seed = int(not_negative(seed, "seed", self.name))

    def forward(self, z: Tensor, step: int) -> Tensor:
        """Of the representation ``(tasks, samples, views, d)``: a scalar."""
        with upcast(z) as (z,):
            samples = by_view(over_episode(z))
            return sigreg(samples, step=step, seed=self.seed, slices=self.slices).mean() / samples.shape[1]

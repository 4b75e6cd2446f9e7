"""Scale and shape of VISReg (arXiv 2606.02572) as a regularizer of representations."""

from __future__ import annotations

from torch import Tensor

from metatc2.objectives.base import not_negative, positive
from metatc2.objectives.regularizers.base import Regularizer, by_view
from metatc2.objectives.regularizers.registry import register_regularizer
from metatc2.objectives.visreg import scale_loss, shape_loss
from metatc2.ops.numbers import NotNegative, NotNegativeCount, PositiveCount


@register_regularizer("visreg")
class ScaleShape(Regularizer):
    """``w_1 scale_loss + w_2 shape_loss`` of the representation as it is: unit variance, Gaussian and independent.

    Our reading of VISReg as a regularizer of features: invariance is the objective's business, and the mean, which features
    after a ReLU cannot lose, is left alone. It is taken of the samples of all tasks, view by view, and averaged over
    the views. Collapsed features have about 2: 1 of scale and 1 of shape.

    Args:
        scale: weight w_1 of the scale of the representation.
        shape: weight w_2 of its shape.
        slices: number of random directions, others in every step.
        seed: of the directions.

    Raises:
        InputError: if an argument is out of range.

    >>> import torch
    >>> z = torch.randn(4, 64, 2, 8, generator=torch.Generator().manual_seed(0))
    >>> ScaleShape()(z, step=0) < 0.1, 1.5 < ScaleShape()(torch.ones_like(z), step=0) < 2.1
    (tensor(True), tensor(True))
    """

    def __init__(
        self,
        scale: NotNegative = 1.0,
        shape: NotNegative = 1.0,
        slices: PositiveCount = 256,
        seed: NotNegativeCount = 0,
    ) -> None:
        super().__init__()
        self.scale = not_negative(scale, "scale", self.name)
        self.shape = not_negative(shape, "shape", self.name)
        self.slices = int(positive(slices, "slices", self.name))
        self.seed = int(not_negative(seed, "seed", self.name))

    def forward(self, z: Tensor, step: int) -> Tensor:
        """Of the representation ``(tasks, samples, views, d)``: a scalar."""
        samples = by_view(z)
        shape = shape_loss(samples, step=step, seed=self.seed, slices=self.slices)
        return (self.scale * scale_loss(samples) + self.shape * shape).mean()

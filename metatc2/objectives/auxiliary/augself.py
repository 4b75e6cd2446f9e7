"""AugSelf: tell from two views how their augmentations differ."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

from metatc2.augment.descriptor import DESCRIPTOR
from metatc2.objectives.auxiliary.base import Auxiliary, regressor
from metatc2.objectives.auxiliary.registry import register_auxiliary
from metatc2.ops.numbers import PositiveCount, whole

#: Parts whose difference is a number, and the largest size that a column of it can have.
DIFFERENCES = {"color": 2.0, "crop": 1.0, "rotation": 2.0}


@register_auxiliary("augself")
class AugSelf(Auxiliary):
    """Difference of two views' descriptors, predicted from both (Lee et al. 2021, arXiv 2111.09613, equation 2).

    A head of three layers for each part of the descriptor sees ``[z_i; z_j]``. Differences of crop, color and rotation are
    scaled to [-1, 1] and met by a tanh with the squared error; for the mirror the head says whether both views or neither was
    mirrored, with the cross-entropy, as in the authors' code. Every pair of views counts in both orders. Rotation is our
    addition: the paper does not rotate; dropping of colors is not predicted, as there.

    Args:
        dim: width of the encoder's output.
        hidden: width of the heads' layers.

    Raises:
        InputError: if the width is below 1. In use: see `Auxiliary`.

    >>> z, descriptors = torch.randn(2, 8, 2, 16), torch.rand(2, 8, 2, 19)
    >>> AugSelf(16, hidden=32)(z, descriptors).shape
    torch.Size([])
    """

    def __init__(self, dim: int, hidden: PositiveCount = 512) -> None:
        super().__init__()
        hidden = whole(hidden, "augself: hidden", 1)
        widths = {name: DESCRIPTOR[name].stop - DESCRIPTOR[name].start for name in (*DIFFERENCES, "flip")}
        self.heads = nn.ModuleDict({name: regressor(2 * dim, hidden, width) for name, width in widths.items()})

    def loss(self, z: Tensor, descriptors: Tensor) -> Tensor:
        """Sum over the parts of the mean over pairs of views, samples and columns."""
        first, second = (torch.tensor(each, device=z.device) for each in _orders(z.shape[2]))
        pairs = torch.cat([z[:, :, first], z[:, :, second]], dim=-1).flatten(0, 2)
        a, b = descriptors[:, :, first].flatten(0, 2), descriptors[:, :, second].flatten(0, 2)
        losses = []
        for name, head in self.heads.items():
            said, own, other = head(pairs), a[:, DESCRIPTOR[name]], b[:, DESCRIPTOR[name]]
            if name in DIFFERENCES:
                losses.append(mse_loss(said.tanh(), (own - other) / DIFFERENCES[name]))
            else:
                losses.append(binary_cross_entropy_with_logits(said, (own == other).to(said.dtype)))
        return torch.stack(losses).sum()


def _orders(views: int) -> tuple[list[int], list[int]]:
    """All ordered pairs of two different views."""
    every = [(i, j) for i in range(views) for j in range(views) if i != j]
    return [i for i, _ in every], [j for _, j in every]

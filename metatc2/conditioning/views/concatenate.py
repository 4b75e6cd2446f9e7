"""The code appended to the representation: CASSLE's default."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from metatc2.conditioning.views.base import EmbeddedHead
from metatc2.conditioning.views.registry import HeadSizes, register_condition
from metatc2.ops.numbers import PositiveCount


@register_condition("concatenate")
class ConcatenateCode(EmbeddedHead):
    """``π([z; γ(ω)])`` (CASSLE, arXiv 2306.06082, equation 2).

    The wider the code beside the representation, the more it disturbs a projector that has not yet learned to use it. From zero
    the head starts as that of `Projector`, and takes from the code what it learns to take (our addition).

    Args:
        sizes: see `ConditionedHead`.
        code: width of the code.
        zero_start: whether the weights of the code start at zero; the authors' do not.

    >>> head = ConcatenateCode(HeadSizes(dim=32, hidden=64, out=16))
    >>> head(torch.rand(2, 8, 2, 32), head.encode(torch.rand(2, 8, 2, 19))).shape
    torch.Size([2, 8, 2, 16])
    """

    def __init__(self, sizes: HeadSizes, code: PositiveCount = 64, zero_start: bool = False) -> None:
        super().__init__(sizes, code, inputs=sizes.dim + code)
        if zero_start:
            first = self.head[0]
            assert isinstance(first, nn.Linear)
            with torch.no_grad():
                first.weight[:, sizes.dim :] = 0

    def join(self, z: Tensor, code: Tensor) -> Tensor:
        """See `EmbeddedHead.join`."""
        return torch.cat([z, code], dim=-1)

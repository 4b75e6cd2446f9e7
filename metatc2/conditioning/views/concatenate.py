"""The code appended to the representation: CASSLE's default."""

from __future__ import annotations

import torch
from torch import Tensor

from metatc2.conditioning.views.base import EmbeddedHead
from metatc2.conditioning.views.registry import HeadSizes, register_condition


@register_condition("concatenate")
class ConcatenateCode(EmbeddedHead):
    """``π([z; γ(ω)])`` (CASSLE, arXiv 2306.06082, equation 2).

    Args:
        sizes: see `ConditionedHead`.

    >>> head = ConcatenateCode(HeadSizes(dim=32, hidden=64, out=16))
    >>> head(torch.rand(2, 8, 2, 32), head.encode(torch.rand(2, 8, 2, 19))).shape
    torch.Size([2, 8, 2, 16])
    """

    @classmethod
    def input_width(cls, sizes: HeadSizes) -> int:
        """See `EmbeddedHead.input_width`."""
        return sizes.dim + sizes.code

    def join(self, z: Tensor, code: Tensor) -> Tensor:
        """See `EmbeddedHead.join`."""
        return torch.cat([z, code], dim=-1)

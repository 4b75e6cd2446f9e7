"""The code as scale and shift of the head's first normalized layer."""

from __future__ import annotations

from torch import Tensor

from metatc2.conditioning.views.base import ConditionedHead
from metatc2.conditioning.views.registry import HeadSizes, register_condition
from metatc2.errors import InputError
from metatc2.models.heads import Projector, zero_linear
from metatc2.ops.numbers import PositiveCount


@register_condition("film")
class FiLMCode(ConditionedHead):
    """Scale and shift of the first norm's output, linear in the code and zero at the start.

    FiLM, Perez et al. 2018, arXiv 1709.07871, equations 1 and 2, the scale counted from 1.

    Args:
        sizes: see `ConditionedHead`; at least two layers.
        code: width of the code.

    Raises:
        InputError: if the head has one layer, which no norm follows.
    """

    def __init__(self, sizes: HeadSizes, code: PositiveCount = 64) -> None:
        super().__init__(sizes, code)
        if sizes.layers < 2:
            raise InputError("condition 'film' follows a norm, and a head of one layer has none; use 2 layers or more")
        self.head = Projector(sizes.dim, sizes.hidden, sizes.out, sizes.layers, norm_out=sizes.norm_out)
        self.film = zero_linear(code, 2 * sizes.hidden)

    def forward(self, z: Tensor, code: Tensor) -> Tensor:
        """See `ConditionedHead.forward`."""
        scale, shift = self.film(code.to(z.dtype)).chunk(2, dim=-1)
        first, norm, *rest = self.head
        x: Tensor = norm(first(z))
        x = x + scale * x + shift
        for part in rest:
            x = part(x)
        return x

"""The code added to the representation."""

from __future__ import annotations

from torch import Tensor

from metatc2.conditioning.views.base import EmbeddedHead
from metatc2.conditioning.views.registry import HeadSizes, register_condition


@register_condition("add")
class AddCode(EmbeddedHead):
    """``π(z + γ(ω))`` (CASSLE, arXiv 2306.06082, section 4.5), the code as wide as the representation.

    Args:
        sizes: see `ConditionedHead`.
    """

    def __init__(self, sizes: HeadSizes) -> None:
        super().__init__(sizes, code=sizes.dim, inputs=sizes.dim)

    def join(self, z: Tensor, code: Tensor) -> Tensor:
        """See `EmbeddedHead.join`."""
        return z + code

"""The code as weights of the head's first layer, of low rank."""

from __future__ import annotations

from torch import Tensor, nn

from metatc2.conditioning.views.base import ConditionedHead
from metatc2.conditioning.views.registry import HeadSizes, register_condition
from metatc2.models.heads import Projector, zero_linear
from metatc2.ops.numbers import PositiveCount, whole


@register_condition("hypernetwork")
class LowRankHypernetwork(ConditionedHead):
    """The first layer is ``W + B diag(s(γ(ω))) A``, with s linear and zero at the start.

    A hypernetwork that makes all weights, as in CASSLE (arXiv 2306.06082, section 4.5), has hundreds of millions of
    parameters and was below the plain baseline there. Of low rank it has ``rank · (dim + hidden + C)``, and no view's own
    weights are ever formed: what is added is a product of thin matrices (our reading).

    Args:
        sizes: see `ConditionedHead`.
        code: width of the code.
        rank: columns of A and B.

    Raises:
        InputError: if the rank is below 1.
    """

    def __init__(self, sizes: HeadSizes, code: PositiveCount = 64, rank: PositiveCount = 16) -> None:
        super().__init__(sizes, code)
        rank = whole(rank, "condition 'hypernetwork': rank", 1)
        self.head = Projector(sizes.dim, sizes.hidden, sizes.out, sizes.layers, norm_out=sizes.norm_out)
        first = self.head[0]
        assert isinstance(first, nn.Linear)
        self.down = nn.Linear(sizes.dim, rank, bias=False)
        self.up = nn.Linear(rank, first.out_features, bias=False)
        self.strength = zero_linear(code, rank)

    def forward(self, z: Tensor, code: Tensor) -> Tensor:
        """See `ConditionedHead.forward`."""
        first, *rest = self.head
        x: Tensor = first(z) + self.up(self.strength(code.to(z.dtype)) * self.down(z))
        for part in rest:
            x = part(x)
        return x

"""The control: weights that nothing was learned about."""

from __future__ import annotations

import torch
from torch import Tensor

from metatc2.transfer.fusion.attention.base import Attention, Params, value_of
from metatc2.transfer.fusion.attention.registry import register_attention


@register_attention("random")
class Random(Attention):
    """One fixed weight an encoder, drawn uniformly from the simplex; everything else is trained as with `Static`.

    Args:
        sizes: see `AttentionSizes`.
    """

    def initial(self, generator: torch.Generator) -> Params:
        """See `Attention.initial`."""
        return {"value": torch.eye(self.sizes.width)}

    def constants(self, generator: torch.Generator) -> Params:
        """See `Attention.constants`."""
        # Shares of exponential variables are uniform on the simplex.
        draws = -torch.rand(self.sizes.encoders, generator=generator).clamp(1e-6, 1 - 1e-6).log()
        return {"weights": draws / draws.sum()}

    def combine(self, p: Params, h: Tensor) -> tuple[Tensor, Tensor]:
        """See `Attention.combine`."""
        weights = p["weights"]
        return value_of(p, torch.einsum("bk,bnkw->bnw", weights, h)), weights[:, None].expand(h.shape[:3])

"""One learned weight an encoder, the same for every image."""

from __future__ import annotations

import torch
from torch import Tensor

from metatc2.transfer.fusion.attention.base import Attention, Params, value_of
from metatc2.transfer.fusion.attention.registry import register_attention


@register_attention("static")
class Static(Attention):
    """``α = softmax(a / τ)``, a learned; ``z = V Σ α_k h_k``.

    Args:
        sizes: see `AttentionSizes`.
    """

    def initial(self, generator: torch.Generator) -> Params:
        """See `Attention.initial`."""
        return {"logits": torch.zeros(self.sizes.encoders), "value": torch.eye(self.sizes.width)}

    def combine(self, p: Params, h: Tensor) -> tuple[Tensor, Tensor]:
        """See `Attention.combine`."""
        weights = (p["logits"] / self.sizes.temperature).softmax(-1)
        z = torch.einsum("bk,bnkw->bnw", weights, h)
        return value_of(p, z), weights[:, None].expand(h.shape[:3])

"""A weight for each channel of each encoder."""

from __future__ import annotations

import torch
from torch import Tensor

from metatc2.transfer.fusion.attention.base import Attention, Params, value_of
from metatc2.transfer.fusion.attention.registry import register_attention

_REDUCTION = 4


@register_attention("channel")
class Channel(Attention):
    """``e = relu(W_1 mean_k h_k + b_1)``, ``g = softmax_k((W_2k e + b_2k) / τ)``, ``z = V Σ g_k ⊙ h_k``.

    Squeeze and excitation (Hu et al. 2018, arXiv 1709.01507) with the squeeze over encoders and, since these compete, a softmax
    over them in the place of the sigmoid (selective kernels, Li et al. 2019, arXiv 1903.06586, equation 5). The weight of an
    encoder is the mean over channels.

    Args:
        sizes: see `AttentionSizes`.
    """

    def initial(self, generator: torch.Generator) -> Params:
        """See `Attention.initial`."""
        width, narrow = self.sizes.width, max(1, self.sizes.width // _REDUCTION)
        return {
            "squeeze": torch.randn(width, narrow, generator=generator) / width**0.5,
            "squeeze bias": torch.zeros(narrow),
            "excite": torch.zeros(self.sizes.encoders, narrow, width),
            "excite bias": torch.zeros(self.sizes.encoders, width),
            "value": torch.eye(width),
        }

    def combine(self, p: Params, h: Tensor) -> tuple[Tensor, Tensor]:
        """See `Attention.combine`."""
        narrow = (h.mean(2) @ p["squeeze"] + p["squeeze bias"][:, None]).relu()
        scores = torch.einsum("bnr,bkrw->bnkw", narrow, p["excite"]) + p["excite bias"][:, None]
        gates = (scores / self.sizes.temperature).softmax(2)
        return value_of(p, (gates * h).sum(2)), gates.mean(-1)

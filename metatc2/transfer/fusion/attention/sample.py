"""Weights that depend on the image: the default."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from metatc2.transfer.fusion.attention.base import Attention, Params, value_of
from metatc2.transfer.fusion.attention.registry import register_attention


@register_attention("sample")
class Sample(Attention):
    """``q = w_0 + W_q mean_k h_k``, ``α = softmax_k(q · U h_k / (√width τ))``, ``z = V Σ α_k h_k``.

    Our reading of the attention over pretexts of Yao et al. 2022 (arXiv 2204.05248), which gives no formula. q is zero at the
    start, so that training begins at the plain mean.

    Args:
        sizes: see `AttentionSizes`.
    """

    def initial(self, generator: torch.Generator) -> Params:
        """See `Attention.initial`."""
        width = self.sizes.width
        return {
            "query": torch.zeros(width),
            "from mean": torch.zeros(width, width),
            "key": torch.eye(width),
            "value": torch.eye(width),
        }

    def combine(self, p: Params, h: Tensor) -> tuple[Tensor, Tensor]:
        """See `Attention.combine`."""
        query = p["query"][:, None] + h.mean(2) @ p["from mean"]
        # q · U h_k = (Uᵀ q) · h_k: one product with U an image, not one an encoder.
        scores = torch.einsum("bnw,bnkw->bnk", query @ p["key"], h) / (math.sqrt(h.shape[-1]) * self.sizes.temperature)
        weights = self.weigh(scores)
        return value_of(p, torch.einsum("bnk,bnkw->bnw", weights, h)), weights

    def weigh(self, scores: Tensor) -> Tensor:
        """Scores ``(B, n, K)`` to weights on the simplex."""
        return scores.softmax(-1)

"""Learned queries without a key projection, after Efficient Probing."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from metatc2.transfer.fusion.attention.base import Attention, AttentionSizes, Params
from metatc2.transfer.fusion.attention.registry import register_attention

_SMALL = 0.02


@register_attention("queries")
class Queries(Attention):
    """``α_j = softmax_k(q_j · h_k / (√width τ))`` for each of Q learned queries, ``z = [Σ_k α_jk V_j h_k]_j``.

    Efficient Probing (Psomas et al. 2025, arXiv 2506.10178), over encoders where it is over patches: no key projection, one
    value projection that is cut into Q slices. The weight of an encoder is the mean over queries.

    Args:
        sizes: see `AttentionSizes`; the width is a multiple of the queries.

    Raises:
        InputError: if it is not.
    """

    def __init__(self, sizes: AttentionSizes) -> None:
        super().__init__(sizes)
        self.slice = sizes.slices(sizes.queries, "queries")

    def initial(self, generator: torch.Generator) -> Params:
        """See `Attention.initial`; queries begin small, and not all the same."""
        queries = _SMALL * torch.randn(self.sizes.queries, self.sizes.width, generator=generator)
        return {"queries": queries, "value": torch.eye(self.sizes.width)}

    def combine(self, p: Params, h: Tensor) -> tuple[Tensor, Tensor]:
        """See `Attention.combine`."""
        scores = torch.einsum("bqw,bnkw->bnkq", p["queries"], h) / (math.sqrt(h.shape[-1]) * self.sizes.temperature)
        weights = scores.softmax(2)
        values = (h @ p["value"][:, None]).unflatten(-1, (-1, self.slice))
        return torch.einsum("bnkq,bnkqs->bnqs", weights, values).flatten(-2), weights.mean(-1)

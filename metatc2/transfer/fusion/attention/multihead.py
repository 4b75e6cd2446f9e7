"""Several attentions side by side, each over its slice of the channels."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from metatc2.transfer.fusion.attention.base import Attention, AttentionSizes, Params
from metatc2.transfer.fusion.attention.registry import register_attention
from metatc2.transfer.fusion.attention.sample import Sample


@register_attention("multihead")
class Multihead(Attention):
    """`Sample` in slices: query, ``U h_k`` and ``V h_k`` are cut into heads, each with its own softmax over encoders.

    Vaswani et al. 2017 (arXiv 1706.03762), section 3.2.2, with the query of `Sample`. The weight of an encoder is the mean over
    heads.

    Args:
        sizes: see `AttentionSizes`; the width is a multiple of the heads.

    Raises:
        InputError: if it is not.
    """

    def __init__(self, sizes: AttentionSizes) -> None:
        super().__init__(sizes)
        self.slice = sizes.slices(sizes.heads, "heads")

    def initial(self, generator: torch.Generator) -> Params:
        """See `Attention.initial`."""
        return Sample(self.sizes).initial(generator)

    def combine(self, p: Params, h: Tensor) -> tuple[Tensor, Tensor]:
        """See `Attention.combine`."""
        query = (p["query"][:, None] + h.mean(2) @ p["from mean"]).unflatten(-1, (-1, self.slice))
        keys = (h @ p["key"].mT[:, None]).unflatten(-1, (-1, self.slice))
        values = (h @ p["value"][:, None]).unflatten(-1, (-1, self.slice))
        scores = torch.einsum("bnhs,bnkhs->bnkh", query, keys) / (math.sqrt(self.slice) * self.sizes.temperature)
        weights = scores.softmax(2)
        return torch.einsum("bnkh,bnkhs->bnhs", weights, values).flatten(-2), weights.mean(-1)

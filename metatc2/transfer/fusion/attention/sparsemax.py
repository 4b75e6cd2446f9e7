"""As `sample`, with weights that may be exactly zero."""

from __future__ import annotations

import torch
from torch import Tensor

from metatc2.transfer.fusion.attention.registry import register_attention
from metatc2.transfer.fusion.attention.sample import Sample


def sparsemax(scores: Tensor) -> Tensor:
    """The point of the simplex nearest to the scores, along the last axis (Martins and Astudillo 2016, arXiv 1602.02068).

    ``max(scores − t, 0)`` with the t at which the sum is 1 (their algorithm 1). Gradients are those of their equation 14.

    >>> sparsemax(torch.tensor([0.5, 0.3, -2.0]))
    tensor([0.6000, 0.4000, 0.0000])
    """
    scores = scores - scores.amax(-1, keepdim=True).detach()  # the same point, and large scores lose no digits
    ordered = scores.sort(-1, descending=True).values
    places = torch.arange(1, scores.shape[-1] + 1, device=scores.device, dtype=scores.dtype)
    excess = ordered.cumsum(-1) - 1
    support = (places * ordered > excess).sum(-1, keepdim=True)
    threshold = excess.gather(-1, support - 1) / support
    return (scores - threshold).clamp(min=0)


@register_attention("sparsemax")
class Sparsemax(Sample):
    """As `Sample`, with `sparsemax` in the place of the softmax.

    Args:
        sizes: see `AttentionSizes`.
    """

    def weigh(self, scores: Tensor) -> Tensor:
        """See `Sample.weigh`."""
        return sparsemax(scores)

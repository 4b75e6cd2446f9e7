"""PCGrad: project conflicting gradients."""

from __future__ import annotations

from torch import Tensor

from metatc2.learners.aggregators._torchjd import torchjd
from metatc2.learners.aggregators.registry import register_aggregator


@register_aggregator("pcgrad")
def pcgrad(gradients: Tensor) -> Tensor:
    """PCGrad (Yu et al. 2020, arXiv 2001.06782, algorithm 1): each gradient loses what opposes another, one after the other.

    The order of the others is drawn from torch's own generator, whose state checkpoints hold. The sum of the paper is divided
    by the number of tasks, so that it is the mean where no two gradients oppose.

    >>> import torch
    >>> pcgrad(torch.tensor([[1.0, 0.0], [-1.0, 2.0]])).round(decimals=2)
    tensor([0.4000, 1.2000])
    """
    return torchjd("PCGrad")(gradients) / len(gradients)

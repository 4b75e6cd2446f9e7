"""UPGrad: unconflicting projection of gradients."""

from __future__ import annotations

from torch import Tensor

from metatc2.learners.aggregators._torchjd import torchjd
from metatc2.learners.aggregators.registry import register_aggregator


@register_aggregator("upgrad")
def upgrad(gradients: Tensor) -> Tensor:
    """UPGrad (Quinton and Rey 2024, arXiv 2406.16232): each gradient projected to where no task loses, then the mean.

    >>> import torch
    >>> upgrad(torch.tensor([[1.0, 0.0], [-1.0, 2.0]])).round(decimals=2)
    tensor([0.4000, 1.2000])
    """
    return torchjd("UPGrad")(gradients)

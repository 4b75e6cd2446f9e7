"""The mean of the tasks' gradients."""

from __future__ import annotations

from torch import Tensor

from metatc2.learners.aggregators._torchjd import torchjd
from metatc2.learners.aggregators.registry import register_aggregator


@register_aggregator("mean")
def mean(gradients: Tensor) -> Tensor:
    """The plain mean, the control of the others.

    >>> import torch
    >>> mean(torch.tensor([[1.0, 0.0], [-1.0, 2.0]])).tolist()
    [0.0, 1.0]
    """
    return torchjd("Mean")(gradients)

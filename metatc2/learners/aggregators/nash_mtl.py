"""Nash-MTL: tasks bargain for a direction."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from metatc2.learners.aggregators._torchjd import torchjd
from metatc2.learners.aggregators.registry import register_aggregator

# cvxpy's word on how torchjd states the problem of Nash-MTL; it is solved all the same.
_NOT_PARAMETRIZED = "You are solving a parameterized problem that is not DPP"


@register_aggregator("nash-mtl")
def nash_mtl(gradients: Tensor) -> Tensor:
    """Nash-MTL (Navon et al. 2022, arXiv 2202.01017): weights α with ``J Jᵀ α = 1 / α``, J the gradients; of length 1.

    The length is that of torchjd and of the paper's code, whatever the length of the gradients. The solver starts anew at each
    call, so that a run that is resumed takes the same steps. A task without a gradient has nothing to bargain for, and is left
    out.

    >>> nash_mtl(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])).round(decimals=2)
    tensor([0.7100, 0.7100])
    """
    size = gradients.norm(dim=1)
    some = size > 0
    if int(some.sum()) < 2:
        only: Tensor = gradients.sum(0) / size.sum().clamp_min(torch.finfo(size.dtype).tiny)
        return only
    # Of usual size the gradients are near the solver's start; its result has the same direction and length.
    kept = gradients[some] / size[some].mean()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=_NOT_PARAMETRIZED, category=UserWarning)
        direction: Tensor = torchjd("NashMTL", n_tasks=len(kept))(kept)
    return direction

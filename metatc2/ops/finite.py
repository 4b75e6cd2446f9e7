"""Whether all values of a tensor are finite, without memory for an answer a value."""

from __future__ import annotations

import torch
from torch import Tensor


def all_finite(tensor: Tensor) -> bool:
    """Whether no value is NaN or infinite.

    Args:
        tensor: floating point, of any shape.

    >>> all_finite(torch.tensor([1.0, 2.0])), all_finite(torch.tensor([1.0, torch.inf])), all_finite(torch.full((2,), 3e38))
    (True, False, True)
    """
    # A sum is NaN or infinite if one of its terms is; where finite terms overflow, each is looked at.
    return bool(tensor.sum(dtype=torch.float32).isfinite()) or bool(tensor.isfinite().all())

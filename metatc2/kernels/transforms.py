"""Whether a transformation of torch.func is at work."""

from __future__ import annotations

import torch


def in_transform() -> bool:
    """Whether a torch.func transform such as vmap is running this code; torch has no public way to ask."""
    return bool(torch._C._are_functorch_transforms_active())

"""The unit of a loss on features: how strongly it acts on them."""

from __future__ import annotations

import torch
from torch import Tensor


def gradient_scale(objective: Tensor, features: Tensor) -> Tensor:
    """How strongly an objective acts on features: ``‖features‖ · ‖∂ objective / ∂ features‖``, without a graph.

    It has the objective's unit and, unlike its value, does not change when a constant is added to it.

    Args:
        objective: a scalar.
        features: what it was computed from; of features that need no gradient, the objective's magnitude is returned.
    """
    if not features.requires_grad:
        return objective.detach().abs()
    (gradient,) = torch.autograd.grad(objective, features, retain_graph=True)
    strength: Tensor = gradient.norm() * features.detach().norm()
    return strength

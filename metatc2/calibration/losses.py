"""The three losses of TC² and the figures to watch beside them (arXiv 2511.13787; the exact forms are our reading)."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def reconstruction(z: Tensor, weights: Tensor, factors: Tensor) -> Tensor:
    """``mean ‖sg(z) − W V‖² / d``: the factors must explain the representation, which itself is the target.

    Args:
        z: ``(..., d)``.
        weights: ``(..., K)``.
        factors: ``(K, d)``.

    >>> eye = torch.eye(3)
    >>> reconstruction(eye, eye, eye).item()
    0.0
    """
    return (z.detach() - weights @ factors).square().mean()


def orthogonality(factors: Tensor) -> Tensor:
    """``‖V Vᵀ − I‖²_F / K``: 0 when the factors are orthonormal.

    Args:
        factors: ``(K, d)``.

    >>> orthogonality(2 * torch.eye(4)).item()
    9.0
    """
    k = factors.shape[0]
    identity = torch.eye(k, dtype=factors.dtype, device=factors.device)
    return (factors @ factors.T - identity).square().sum() / k


def sparsity(weights: Tensor) -> Tensor:
    """``mean ‖W‖₁ / √K`` over the samples.

    Args:
        weights: ``(..., K)``.

    >>> sparsity(torch.ones(5, 4)).item()
    2.0
    """
    return weights.abs().sum(-1).mean() / math.sqrt(weights.shape[-1])


def hoyer(weights: Tensor) -> Tensor:
    """Hoyer's sparseness of each sample's weights, averaged: 0 when all are equal, 1 when one alone is not zero.

    ``(√K − ‖w‖₁/‖w‖₂) / (√K − 1)`` (Hoyer 2004). NaN for K = 1, where it says nothing.

    Args:
        weights: ``(..., K)``.

    >>> round(hoyer(torch.tensor([[1.0, 0.0], [0.0, 3.0]])).item(), 6)
    1.0
    """
    root = math.sqrt(weights.shape[-1])
    ratio = weights.abs().sum(-1) / weights.norm(dim=-1).clamp_min(1e-12)
    return ((root - ratio) / (root - 1)).mean() if root > 1 else torch.full_like(ratio.mean(), float("nan"))


def reconstruction_ratio(z: Tensor, weights: Tensor, factors: Tensor) -> Tensor:
    """Share of the variance that the factors leave unexplained: 0 is perfect, 1 no better than the mean.

    Args:
        z: ``(..., d)``.
        weights: ``(..., K)``.
        factors: ``(K, d)``.

    >>> z = torch.randn(50, 3)
    >>> round(reconstruction_ratio(z, torch.zeros(50, 2), torch.zeros(2, 3)).item(), 1) >= 1.0
    True
    """
    flat = z.flatten(0, -2)
    return reconstruction(z, weights, factors) / (flat - flat.mean(0)).square().mean().clamp_min(1e-12)

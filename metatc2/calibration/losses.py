"""The losses of TC², MetaCRL's variant of two, and figures to watch (arXiv 2511.13787, 2312.05771; our reading)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def reconstruction(z: Tensor, weights: Tensor, factors: Tensor) -> Tensor:
    """``mean ‖sg(z) − W V‖² / d``: the factors must explain the representation, which itself is the target.

    Args:
        z: ``(..., d)``, with one axis of samples or more.
        weights: ``(..., K)``.
        factors: ``(K, d)``.

    >>> eye = torch.eye(3)
    >>> reconstruction(eye, eye, eye).item()
    0.0
    """
    rebuilt = weights.flatten(0, -2) @ factors
    return nn.functional.mse_loss(rebuilt, z.detach().flatten(0, -2))


def orthogonality(factors: Tensor) -> Tensor:
    """``‖V Vᵀ − I‖²_F / K``: 0 when the factors are orthonormal.

    Args:
        factors: ``(K, d)``.

    >>> orthogonality(2 * torch.eye(4)).item()
    9.0
    """
    k = factors.shape[0]
    identity = torch.eye(k, dtype=factors.dtype, device=factors.device)
    return torch.addmm(identity, factors, factors.T, beta=-1).square().sum() / k


def sparsity(weights: Tensor) -> Tensor:
    """``mean ‖W‖₁ / √K`` over the samples.

    Args:
        weights: ``(..., K)``.

    >>> sparsity(torch.ones(5, 4)).item()
    2.0
    """
    return weights.abs().mean() * math.sqrt(weights.shape[-1])


def overlap(factors: Tensor) -> Tensor:
    """``(2 / K) Σ_{i<j} |ξ_i · ξ_j|``: MetaCRL's orthogonality (arXiv 2312.05771), 0 when no two factors overlap.

    The factors are unit rows. Divided by K as `orthogonality` is, which has squares in the same sum, so one λ_o serves both.
    The derivative is ±ξ up to zero overlap, where it jumps: factors come near orthogonality faster and then jitter around it.

    Args:
        factors: ξ ``(K, d)``.

    >>> round(overlap(torch.tensor([[1.0, 0.0], [0.6, 0.8]])).item(), 6)
    0.6
    """
    return (factors @ factors.T).triu(1).abs().sum() * (2 / factors.shape[0])


def grouping(weights: Tensor) -> Tensor:
    """Few factors for each task, all factors over the tasks: ℓ1 minus entropy on task means (MetaCRL, arXiv 2312.05771).

    With ``w̄_t`` the mean of task t's weights over its samples and views,

        mean_t ‖w̄_t‖₁ / √K − H(q) / log K,    q = mean_t |w̄_t| / ‖w̄_t‖₁

    Which entropy is meant is our reading: that of the *average* use q, so that it spreads the factors over the tasks while
    ℓ1 keeps each task to few. ℓ1 is scaled as in `sparsity` and the entropy to [0, 1], so one λ_s serves both. With a single
    task (an encoder calibrated inside a learner on labeled tasks) there is nothing to spread over, and the ℓ1 stands alone.

    Args:
        weights: ``(tasks, ..., K)``.

    >>> round(grouping(torch.eye(4)[:, None]).item(), 6)                # each task uses a factor of its own
    -0.5
    >>> round(grouping(torch.eye(4)[:1].expand(4, 4)[:, None]).item(), 6)        # all tasks use the same one
    0.5
    """
    k = weights.shape[-1]
    size = weights.flatten(1, -2).mean(1).abs()
    l1 = size.sum(-1)
    use = (size / l1.clamp_min(1e-12)[:, None]).mean(0)
    # log is kept from 0, where its slope is infinite; the entropy loses nothing, as 0 log 0 = 0.
    entropy = -(use * use.clamp_min(1e-12).log()).sum()
    return l1.mean() / math.sqrt(k) - (entropy / math.log(k) if k > 1 and len(weights) > 1 else 0.0)


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

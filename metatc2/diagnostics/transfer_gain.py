"""Transfer gain: what a step on one task's support does to every task's query."""

from __future__ import annotations

import torch
from torch import Tensor

from metatc2.diagnostics.task_loss import TaskLoss
from metatc2.errors import InputError
from metatc2.inner import Params


def transfer_gains(loss: TaskLoss, params: Params, gradients: Params, query: Tensor, *, lr: float) -> Tensor:
    """``G_ij = L(Q_j; θ) − L(Q_j; θ − α ∇L(S_i; θ))``: above 0 where a step on task i helps task j.

    The task-level reading of transfer in TC² (Guo et al., arXiv 2511.13787); the formula is ours. M² + M evaluations.

    Args:
        loss: of one task.
        params: θ by name.
        gradients: ``∇L(S_i; θ)`` by name, ``(M, *shape)``, see `task_gradients`.
        query: ``(M, samples, ...)``, the query side of every task.
        lr: α.

    Returns:
        float64 ``(M, M)``, row i the task that the step was on.

    Raises:
        InputError: if α is not above 0, or a loss is not finite.

    >>> squared = lambda p, x: (p["w"] - x).square().mean()
    >>> params, query = {"w": torch.zeros(1)}, torch.tensor([[[1.0]], [[-1.0]]])
    >>> transfer_gains(squared, params, {"w": torch.tensor([[-2.0], [2.0]])}, query, lr=0.1).round(decimals=2).tolist()
    [[0.36, -0.44], [-0.44, 0.36]]
    """
    if not lr > 0:
        raise InputError(f"task conflict: lr must be above 0, got {lr}; 0.05 is the look-ahead's own")
    with torch.no_grad():
        before = _losses(loss, params, query)
        rows = []
        for i in range(len(query)):
            ahead = {name: p - lr * gradients[name][i] for name, p in params.items()}
            rows.append(before - _losses(loss, ahead, query))
    gains = torch.stack(rows)
    if not bool(gains.isfinite().all()):
        raise InputError(f"task conflict: a loss after a step of lr {lr} is NaN or infinite; lower lr")
    return gains


def transferability(gains: Tensor) -> float:
    """T: mean of G_ij over i ≠ j.

    >>> transferability(torch.tensor([[9.0, 1.0], [3.0, 9.0]]))
    2.0
    """
    return float(_others(gains).mean())


def conflict_rate(gains: Tensor) -> float:
    """C: share of negative G_ij among i ≠ j.

    >>> conflict_rate(torch.tensor([[-9.0, 1.0], [-3.0, 9.0]]))
    0.5
    """
    return float((_others(gains) < 0).double().mean())


def _others(gains: Tensor) -> Tensor:
    return gains[~torch.eye(len(gains), dtype=torch.bool, device=gains.device)]


def _losses(loss: TaskLoss, params: Params, tasks: Tensor) -> Tensor:
    return torch.stack([loss(params, samples).double() for samples in tasks])

"""Heads of other libraries, which take rows ``(N, d)`` and know of no tasks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

# Their channels are the second axis, so that four axes are refused or, where sizes differ, do not fit.
_OF_ROWS = (_BatchNorm, nn.GroupNorm)


def task_by_task(head: nn.Module, z: Tensor) -> Tensor:
    """What a head makes of z; one whose normalization refuses four axes is called with the rows of each task.

    In training a `torch.nn.BatchNorm1d` in it then normalizes over the samples and views of one task together, as `TaskNorm`
    does; rows of all tasks together would let the weights that a task adapts depend on the other tasks. Its running statistics
    move in every such call, and normalize in eval mode. A head that takes four axes is called with them.

    Args:
        head: ``(tasks, samples, views, d)`` → ``(tasks, samples, views, D)``, or ``(N, d)`` → ``(N, D)``.
        z: ``(tasks, samples, views, d)``.

    >>> head = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4))
    >>> task_by_task(head, torch.randn(3, 5, 2, 8)).shape
    torch.Size([3, 5, 2, 4])
    """
    # Tried, since what a head holds does not say what its forward takes. They refuse before anything in them moves.
    try:
        whole: Tensor = head(z)
    except (ValueError, RuntimeError):
        if z.ndim < 4 or not any(isinstance(part, _OF_ROWS) for part in head.modules()):
            raise
        return torch.stack([head(task.flatten(0, -2)).unflatten(0, task.shape[:-1]) for task in z])
    return whole

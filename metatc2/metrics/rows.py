"""Features as rows: what every figure asks of them, and sums over them in float64 a block at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from metatc2.errors import InputError
from metatc2.ops.rows import BLOCK, checked

__all__ = ["BLOCK", "centered", "checked", "mean", "product", "same_rows"]


def same_rows(x: Tensor, y: Tensor, what: str) -> None:
    """Nothing, if row i of `x` and row i of `y` can be of the same image.

    Raises:
        InputError: if their numbers differ.
    """
    if len(x) != len(y):
        raise InputError(
            f"{what}: both sides need the same images in the same order, got {len(x)} and {len(y)} rows; "
            "compute both on the same images"
        )


def mean(x: Tensor) -> Tensor:
    """Mean row ``(d,)`` in float64."""
    return torch.stack([part.double().sum(0) for part in x.split(BLOCK)]).sum(0) / len(x)


def product(x: Tensor, y: Tensor, mean_x: Tensor | None = None, mean_y: Tensor | None = None) -> Tensor:
    """``(X − mean)ᵀ (Y − mean)``, ``(d, e)`` in float64, with a block of rows in memory at a time.

    Args:
        x: ``(N, d)``.
        y: ``(N, e)``.
        mean_x, mean_y: what is subtracted; nothing by default.

    >>> product(torch.ones(5, 2), torch.ones(5, 1)).tolist()
    [[5.0], [5.0]]
    """
    total = torch.zeros(x.shape[1], y.shape[1], dtype=torch.float64, device=x.device)
    for a, b in zip(x.split(BLOCK), y.split(BLOCK), strict=True):
        left, right = centered(a, mean_x), centered(b, mean_y)
        total = total + left.mT @ right
    return total


def centered(x: Tensor, mean_x: Tensor | None) -> Tensor:
    """``X − mean`` in float64."""
    return x.double() if mean_x is None else x.double() - mean_x

"""Factors as numbers that a regression can fit: nothing jumps where a turn closes, no order among categories."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def columns(values: Tensor, kind: str) -> Tensor:
    """One factor as centered columns in float64.

    Args:
        values: ``(N,)``.
        kind: see `GenerativeFactors.kinds`.

    Returns:
        Linear ``(N, 1)``; circular ``(N, 2)``, cosine and sine; categorical ``(N, categories)``, one for each that occurs.

    >>> columns(torch.tensor([0.0, 0.5]), "circular").round(decimals=3).abs().tolist()
    [[1.0, 0.0], [1.0, 0.0]]
    """
    made = uncentered_columns(values, kind, values.unique())
    return made - made.mean(0)


def uncentered_columns(values: Tensor, kind: str, categories: Tensor) -> Tensor:
    """As `columns`, not centered, so that two sets of images have the same columns.

    Args:
        values: ``(N,)``.
        kind: see `GenerativeFactors.kinds`.
        categories: one column each; of a categorical factor alone.

    >>> uncentered_columns(torch.tensor([5.0, 3.0]), "categorical", torch.tensor([3.0, 4.0])).tolist()
    [[0.0, 0.0], [1.0, 0.0]]
    """
    if kind == "circular":
        turn = 2 * math.pi * values.double()
        return torch.stack([turn.cos(), turn.sin()], 1)
    return (values[:, None] == categories).double() if kind == "categorical" else values.double()[:, None]

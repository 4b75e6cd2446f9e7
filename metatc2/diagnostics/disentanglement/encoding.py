"""Factors as numbers that a regression can fit: nothing jumps where a turn closes, no order among categories."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def columns(values: Tensor, kind: str) -> Tensor:
    """One factor as centred columns in float64.

    Args:
        values: ``(N,)``.
        kind: see `GenerativeFactors.kinds`.

    Returns:
        Linear ``(N, 1)``; circular ``(N, 2)``, cosine and sine; categorical ``(N, categories)``, one for each that occurs.

    >>> columns(torch.tensor([0.0, 0.5]), "circular").round(decimals=3).abs().tolist()
    [[1.0, 0.0], [1.0, 0.0]]
    """
    if kind == "circular":
        turn = 2 * math.pi * values.double()
        made = torch.stack([turn.cos(), turn.sin()], 1)
    elif kind == "categorical":
        made = (values[:, None] == values.unique()).double()
    else:
        made = values.double()[:, None]
    return made - made.mean(0)

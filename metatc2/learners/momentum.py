"""The momentum branch: weights that follow those of the online branch."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def average(target: nn.Module, online: nn.Module, decay: float) -> None:
    """Move the parameters of `target` toward those of `online`: ``t ← decay·t + (1 − decay)·o``."""
    for t, o in zip(target.parameters(), online.parameters(), strict=True):
        t.lerp_(o, 1 - decay)

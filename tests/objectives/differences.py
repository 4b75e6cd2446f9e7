"""Derivatives of a function of numpy arrays by central differences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]


def check_both_orders(ours: Callable[[Tensor], Tensor], value: Callable[[Array], float], at: Tensor) -> None:
    """Value, gradient along three directions and second derivative along pairs of them, of a scalar function."""
    g = torch.Generator().manual_seed(77)
    ways = torch.randn(3, *at.shape, generator=g, dtype=torch.float64)
    z = at.clone().requires_grad_()
    loss = ours(z)
    (gradient,) = torch.autograd.grad(loss, z, create_graph=True)
    point, h = at.numpy(), 1e-4
    assert loss.item() == pytest.approx(value(point), rel=1e-10)
    for i, way in enumerate(ways):
        v, w = way.numpy(), ways[i - 1].numpy()
        first = (value(point + h * v) - value(point - h * v)) / (2 * h)
        corners = (value(point + h * (a * v + b * w)) * a * b for a in (1, -1) for b in (1, -1))
        (along,) = torch.autograd.grad((gradient * way).sum(), z, retain_graph=True)
        assert (gradient * way).sum().item() == pytest.approx(first, rel=1e-5, abs=1e-6)
        assert (along * ways[i - 1]).sum().item() == pytest.approx(sum(corners) / (4 * h * h), rel=1e-4, abs=1e-5)

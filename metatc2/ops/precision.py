"""Numerical habits that objectives share: full precision, and unit vectors and unit variances that never give NaN."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor

# Rows shorter than this are scaled by a constant instead of by their length.
SHORTEST = 1e-8


def without_autocast(where: Tensor | torch.device) -> AbstractContextManager[object]:
    """Context in which no operation is in mixed precision; of devices that have none it does nothing.

    Args:
        where: the device, or a tensor on it.
    """
    kind = where.device.type if isinstance(where, Tensor) else where.type
    return torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()


def autocast_as_now(device: torch.device) -> Callable[[], AbstractContextManager[object]]:
    """What makes contexts in which operations are in the precision that they are in now.

    Args:
        device: whose operations these are; of devices that have no mixed precision the contexts do nothing.
    """
    kind = device.type
    if not torch.amp.is_autocast_available(kind):
        return nullcontext
    enabled, dtype = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
    return partial(torch.autocast, kind, dtype=dtype, enabled=enabled)  # a lambda could not be pickled


@contextmanager
def upcast(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Give the tensors in float32 (float64 stays) with autocast off, so that losses are exact under mixed precision.

    >>> half = torch.ones(2, dtype=torch.bfloat16)
    >>> with torch.autocast("cpu", dtype=torch.bfloat16), upcast(half) as (z,):
    ...     (z.outer(z) @ z).dtype
    torch.float32
    """
    with without_autocast(tensors[0]):
        yield tuple(t if t.dtype == torch.float64 else t.float() for t in tensors)


def unit(z: Tensor) -> Tensor:
    """Rows of length one.

    `torch.nn.functional.normalize` has a NaN second derivative at a zero row; this one is finite everywhere.

    Args:
        z: ``(..., D)``.

    >>> unit(torch.tensor([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    return z * z.square().sum(-1, keepdim=True).clamp_min(SHORTEST**2).rsqrt()


def standardized(z: Tensor, eps: float = 1e-5) -> Tensor:
    """Zero mean and unit variance (by 1/n) of every dimension over the samples; a dimension without variance is 0.

    Args:
        z: ``(..., n, D)``.
        eps: added to the variance.

    >>> standardized(torch.tensor([[1.0, 2.0], [5.0, 2.0]]), eps=0.0625).round(decimals=2)  # a NaN would stand here for 0
    tensor([[-0.9900,  0.0000],
            [ 0.9900,  0.0000]])
    """
    centered = z - z.mean(-2, keepdim=True)
    return centered * (centered.square().mean(-2, keepdim=True) + eps).rsqrt()

"""Operations of torch whose second derivative is missing or wrong, and what stands for them inside an inner loop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode


@contextmanager
def differentiable_twice() -> Iterator[None]:
    """Context in which what runs can be differentiated twice.

    Attention takes its math kernel, since the fused ones have no second derivative; weight normalisation is written out, since
    torch's (2.6 to 2.14) has a wrong one on CPU.
    """
    with sdpa_kernel(SDPBackend.MATH), _Exact():
        yield


def exact(function: Any) -> Any:
    """What to call in place of a function of torch, so that its second derivative is right.

    >>> exact(torch.sin) is torch.sin
    True
    """
    return _weight_norm if function is torch._weight_norm else function


class _Exact(TorchFunctionMode):
    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return exact(function)(*args, **(kwargs or {}))


def _weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    """``g v / ‖v‖``, the norm over all axes but `dim` (−1: over all)."""
    axes = [axis for axis in range(v.ndim) if dim == -1 or axis != dim % v.ndim]
    return v * (g / v.square().sum(axes, keepdim=dim != -1).sqrt())

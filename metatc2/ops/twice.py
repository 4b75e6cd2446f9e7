"""Operations of torch whose second derivative is missing or wrong, and what stands for them inside an inner loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from metatc2.ops import in_transform


@contextmanager
def differentiable_twice() -> Iterator[None]:
    """Context in which what runs can be differentiated twice.

    Attention takes its math kernel, since the fused ones have no second derivative. Operations that have a wrong one in torch
    2.6 to 2.14 are written out: weight normalization on CPU, and under vmap layer and instance normalization.
    """
    with math_attention(), ExactOperations():
        yield


def math_attention() -> AbstractContextManager[Any]:
    """The part of `differentiable_twice` that costs nothing for each operation."""
    return sdpa_kernel(SDPBackend.MATH)


def exact(function: Any) -> Any:
    """What to call in place of a function of torch, so that its second derivative is right.

    >>> exact(torch.sin) is torch.sin
    True
    """
    if function is torch._weight_norm:
        return _weight_norm
    if in_transform():
        return _UNDER_VMAP.get(function, function)
    return function


class ExactOperations(TorchFunctionMode):
    """The other part of `differentiable_twice`; a microsecond an operation, so for the loss alone, not its optimizer."""

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return exact(function)(*args, **(kwargs or {}))


def _weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    """``g v / ‖v‖``, the norm over all axes but `dim` (−1: over all)."""
    axes = [axis for axis in range(v.ndim) if dim == -1 or axis != dim % v.ndim]
    return v * (g / v.square().sum(axes, keepdim=dim != -1).sqrt())


def _layer_norm(
    x: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *rest: Any,
) -> Tensor:
    axes = tuple(range(-len(normalized_shape), 0))
    return _affine(_standardized(x, axes, eps), weight, bias)


def _instance_norm(
    x: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *rest: Any,
) -> Tensor:
    """Running statistics are read and not written: no adapted copy moves them."""
    shape = (-1, *(1 for _ in range(x.ndim - 2)))
    if use_input_stats or running_mean is None or running_var is None:
        normal = _standardized(x, tuple(range(2, x.ndim)), eps)
    else:
        normal = (x - running_mean.view(shape)) * (running_var.view(shape) + eps).rsqrt()
    return _affine(normal, *(t if t is None else t.view(shape) for t in (weight, bias)))


def _standardized(x: Tensor, axes: tuple[int, ...], eps: float) -> Tensor:
    variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    return (x - mean) * (variance + eps).rsqrt()


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


_UNDER_VMAP: dict[Any, Any] = {
    F.layer_norm: _layer_norm,
    torch.layer_norm: _layer_norm,
    F.instance_norm: _instance_norm,
    torch.instance_norm: _instance_norm,
}

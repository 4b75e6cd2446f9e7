"""Batch normalization by the statistics of the batch, with a second derivative that costs a few passes over the data."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from metatc2.errors import InputError


class BatchNormCall(NamedTuple):
    """What `torch.nn.functional.batch_norm` is called with, by its names and defaults, for what stands in its place.

    >>> BatchNormCall(torch.zeros(2, 3), None, None, training=True).eps
    1e-05
    """

    input: Tensor
    running_mean: Tensor | None
    running_var: Tensor | None
    weight: Tensor | None = None
    bias: Tensor | None = None
    training: bool = False
    momentum: float = 0.1
    eps: float = 1e-5


def batch_norm(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float = 1e-5) -> Tensor:
    """``(x − mean) / √(var + eps) · weight + bias`` per channel, statistics over all other axes (Ioffe and Szegedy 2015).

    The same function and first derivative as `torch.nn.functional.batch_norm` in training, without running statistics. The
    second derivative is written out: torch's own composes it of about forty operations, which took a tenth of a second-order
    MAML step. Higher derivatives are composed too. On devices other than CPU all of it is torch's,
    which has no derivative beyond the second.

    Args:
        x: ``(N, C, ...)``.
        weight: ``(C,)``.
        bias: ``(C,)``.
        eps: added to the variance.

    Raises:
        InputError: if there is one value a channel.

    >>> x = torch.tensor([[1.0], [3.0]])
    >>> batch_norm(x, None, None, eps=0.0).tolist()
    [[-1.0], [1.0]]
    """
    if x.numel() == x.shape[1]:
        raise InputError(
            "batch normalization needs more than one value a channel, got "
            f"{tuple(x.shape)}: with norm='batch' a single query is nothing to normalize by; give more queries, or use "
            "norm='support' or 'frozen'"
        )
    if x.device.type != "cpu":
        return torch.nn.functional.batch_norm(x, None, None, weight, bias, True, 0.0, eps)
    # In mixed precision at the width of the weight.
    half = weight is not None and x.dtype in (torch.bfloat16, torch.float16)
    wide = x.to(weight.dtype) if weight is not None and half else x
    result: Tensor = _BatchNorm.apply(wide, weight, bias, eps).to(x.dtype)
    return result


class _BatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
        y, mean, inverse = torch.native_batch_norm(x, weight, bias, None, None, True, 0.0, eps)
        ctx.save_for_backward(x, weight, mean, inverse)
        ctx.eps, ctx.biased = eps, bias is not None
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        x, weight, mean, inverse = ctx.saved_tensors
        dx, dweight, dbias = _Gradient.apply(grad, x, weight, mean, inverse, ctx.eps)
        return dx, dweight if weight is not None else None, dbias if ctx.biased else None, None


class _Gradient(torch.autograd.Function):
    """First derivative as a function of the incoming gradient, x and weight; mean and 1/σ are functions of x."""

    @staticmethod
    def forward(
        ctx: Any, grad: Tensor, x: Tensor, weight: Tensor | None, mean: Tensor, inverse: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        dx, dweight, dbias = _kernel(grad, x, weight, mean, inverse, eps)
        ctx.save_for_backward(grad, x, weight, mean, inverse, dweight, dbias)
        ctx.eps = eps
        ctx.set_materialize_grads(False)
        return dx, dweight, dbias

    @staticmethod
    def backward(ctx: Any, a: Tensor | None, a_weight: Tensor | None, a_bias: Tensor | None) -> tuple[Any, ...]:
        if torch.is_grad_enabled():
            return _higher(ctx, (a, a_weight, a_bias))
        # With h = x̂, s = 1/σ, γ = weight, g = grad, and sums over all axes but channels (⟨·⟩):
        #   dx = γs (g − ⟨g⟩/n − h⟨gh⟩/n),  dweight = ⟨gh⟩,  dbias = ⟨g⟩;  a, a_weight, a_bias meet these three.
        grad, x, weight, mean, s, gh, g_sum = ctx.saved_tensors
        n = x.numel() / x.shape[1]
        gamma_s = s if weight is None else weight * s
        zero = torch.zeros_like(s)
        a_weight = zero if a_weight is None else a_weight
        a_bias = zero if a_bias is None else a_bias
        if a is None:
            along_a, ah, a_sum, ag = None, zero, zero, zero
        else:
            # dx is linear in g with a symmetric matrix, so a goes through the same kernel, which hands out ⟨ah⟩ and ⟨a⟩ too.
            along_a, ah, a_sum = _kernel(a, x, weight, mean, s, ctx.eps)
            ag = (a * grad).sum([axis for axis in range(x.ndim) if axis != 1])
        # What meets g: the kernel on a, and a_weight h + a_bias.
        to_grad = _affine(x, a_weight * s, a_bias - a_weight * s * mean)
        to_grad = to_grad if along_a is None else to_grad.add_(along_a)
        # What meets γ, and L = γ times it, which s meets divided by s.
        to_weight = s * (ag - a_sum * g_sum / n - ah * gh / n)
        meets_s = gamma_s * (ag - a_sum * g_sum / n - ah * gh / n)
        # What meets h is u a + v g per channel; h and s are then differentiated as functions of x.
        u, v = -gamma_s * gh / n, a_weight - gamma_s * ah / n
        slope = -s * s * (u * ah + v * gh + meets_s) / n
        to_x = _affine(x, slope, -s * (u * a_sum + v * g_sum) / n - slope * mean)
        to_x = to_x.addcmul_(per_channel(s * v, x), grad)
        if a is not None:
            to_x = to_x.addcmul_(per_channel(s * u, x), a)
        return to_grad, to_x, None if weight is None else to_weight, None, None, None


def _higher(ctx: Any, cotangents: tuple[Tensor | None, ...]) -> tuple[Any, ...]:
    """`_Gradient.backward` with a graph of its own, for derivatives beyond the second."""
    # `grad` may be a function of x, as in a gradient of a gradient. Views of their own are independent variables here; without
    # them what flows to x by way of `grad` would be counted twice.
    own: Any = [None if t is None else t.view_as(t) for t in ctx.saved_tensors[:3]]
    grad, x, weight = own
    axes = [axis for axis in range(x.ndim) if axis != 1]
    variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    inverse = (variance + ctx.eps).rsqrt()
    h, n = (x - mean) * inverse, x.numel() / x.shape[1]
    g_sum, gh = grad.sum(axes, keepdim=True), (grad * h).sum(axes, keepdim=True)
    dx = inverse * (grad - g_sum / n - h * gh / n)
    dx = dx if weight is None else dx * per_channel(weight, x)
    pairs = [
        (out, cotangent)
        for out, cotangent in zip((dx, gh.flatten(), g_sum.flatten()), cotangents, strict=True)
        if cotangent is not None and out.requires_grad
    ]
    inputs = [t for t in (grad, x, weight) if t is not None and t.requires_grad]
    outs, given = [out for out, _ in pairs], [cotangent for _, cotangent in pairs]
    gradients = iter(torch.autograd.grad(outs, inputs, given, create_graph=True, allow_unused=True))
    results = [next(gradients) if t is not None and t.requires_grad else None for t in (grad, x, weight)]
    return *results, None, None, None


def _kernel(
    grad: Tensor, x: Tensor, weight: Tensor | None, mean: Tensor, inverse: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    gradients: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.native_batch_norm_backward(
        grad, x, weight, None, None, mean, inverse, True, eps, [True, True, True]
    )
    return gradients


def _affine(x: Tensor, slope: Tensor, offset: Tensor) -> Tensor:
    return torch.addcmul(per_channel(offset, x), per_channel(slope, x), x)


def per_channel(values: Tensor, like: Tensor) -> Tensor:
    """``(C,)`` as it meets ``(N, C, ...)``."""
    return values.view(1, -1, *(1 for _ in like.shape[2:]))

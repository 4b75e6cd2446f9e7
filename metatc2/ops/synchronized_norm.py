"""Batch normalization by the statistics of all processes that train together."""

from __future__ import annotations

from typing import Any

import torch
import torch.overrides
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from metatc2.errors import InputError
from metatc2.ops.batch_norm import BatchNormCall, per_channel
from metatc2.ops.conv_norm_pool import Moments, conv_norm_pool
from metatc2.ops.ranks import Ranks


class SynchronizedNorm(TorchFunctionMode):
    """Within the block every ``batch_norm`` in training has the statistics of the samples of all ranks; running ones too.

    What `torch.nn.SyncBatchNorm` does, without another module in place of the user's, and on any device; `conv_norm_pool` too.

    Args:
        ranks: that train together; each must run as many layers of batch normalization, in the same order.

    >>> x, norm = torch.randn(8, 3), nn.BatchNorm1d(3)
    >>> with SynchronizedNorm(Ranks()):
    ...     torch.allclose(norm(x), torch.nn.functional.batch_norm(x, None, None, training=True), atol=1e-6)
    True
    """

    def __init__(self, ranks: Ranks) -> None:
        super().__init__()
        self.ranks = ranks

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if self.ranks.alone:
            return function(*args, **kwargs)
        if function is nn.functional.batch_norm:
            return self._batch_norm(BatchNormCall(*args, **kwargs))
        if function is conv_norm_pool:
            return conv_norm_pool(*args, **{**kwargs, "pooled": self._pooled})
        return function(*args, **kwargs)

    def _batch_norm(self, call: BatchNormCall) -> Tensor:
        if not call.training:
            return nn.functional.batch_norm(*call)
        x, running_mean, running_var, weight, bias, _, momentum, eps = call
        with torch.no_grad():
            mean, variance, count = _statistics(x.detach(), self.ranks)
            if running_mean is not None and running_var is not None:
                running_mean.lerp_(mean.to(running_mean.dtype), momentum)
                running_var.lerp_((variance * (count / (count - 1))).to(running_var.dtype), momentum)
        # Kernels take weights in the format of the statistics.
        weight, bias = (None if p is None else p.to(mean.dtype) for p in (weight, bias))
        result: Tensor = _Normalize.apply(x, weight, bias, mean, variance, count, eps, self.ranks)
        return result

    def _pooled(self, own: Moments) -> Moments:
        """Moments of the parts of the images of all ranks."""
        center, covariance, count = own
        told = torch.cat([center[None], covariance, torch.full_like(center, count)[None]])[None]
        every = self.ranks.gather(told, alike=True)
        centers, covariances, counts = every[:, 0], every[:, 1:-1], every[:, -1, 0]
        share = counts / counts.sum()
        overall = share @ centers
        about = centers - overall
        within = (share[:, None, None] * covariances).sum(0)
        return overall, within + (share[:, None] * about).T @ about, int(counts.sum())


def only_synchronized(x: Tensor) -> bool:
    """Whether torch's functions on a tensor are replaced by nothing else than `SynchronizedNorm`."""
    # PyTorch has no public question for the modes that are entered.
    modes = torch.overrides._get_current_function_mode_stack()
    return type(x) is Tensor and all(isinstance(mode, SynchronizedNorm) for mode in modes)


def _statistics(x: Tensor, ranks: Ranks) -> tuple[Tensor, Tensor, int]:
    """Mean and biased variance a channel over all ranks ``(C,)``, and over how many values."""
    wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    variance, mean = torch.var_mean(wide, _but_channels(x), correction=0)
    own = x.numel() // x.shape[1]
    # Moments about each rank's own mean: sums of squares would cancel.
    told = torch.stack([mean, variance, torch.full_like(mean, own)])[None]
    means, variances, counts = ranks.gather(told, alike=True).unbind(1)
    count = int(counts[:, 0].sum())
    if count < 2:
        raise InputError("batch normalization needs more than one value a channel; give more samples")
    share = counts / count
    overall = (share * means).sum(0)
    return overall, (share * (variances + (means - overall).square())).sum(0), count


class _Normalize(torch.autograd.Function):
    """Batch normalization by given statistics of the values of all ranks, which are functions of `x` on every rank.

    Both passes are torch's own kernels for fixed statistics, and one more over the data: with h the normalized values, s = 1/σ,
    γ the weight, g the gradient and ⟨·⟩ sums over the values of all ranks, it is γs (g − ⟨g⟩/n − h⟨gh⟩/n), of which the kernel
    computes the first term (Ioffe and Szegedy 2015).
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        variance: Tensor,
        count: int,
        eps: float,
        ranks: Ranks,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, bias, mean, variance)
        ctx.count, ctx.eps, ctx.ranks = count, eps, ranks
        return nn.functional.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        x, weight, bias, mean, variance = ctx.saved_tensors
        if torch.is_grad_enabled():
            return *_differentiable(ctx, grad), *[None] * 5
        dx, gh, g = torch.ops.aten.native_batch_norm_backward(
            grad, x, weight, mean, variance, None, None, False, ctx.eps, [True, True, True]
        )
        gh_all, g_all = ctx.ranks.sum(torch.stack([gh, g])) / ctx.count
        inverse = (variance + ctx.eps).rsqrt()
        scale = inverse if weight is None else weight * inverse
        slope = -scale * inverse * gh_all
        offset = -scale * g_all - slope * mean
        dx = dx.add_(per_channel(offset, x)).addcmul_(per_channel(slope, x), x)
        return dx, None if weight is None else gh, None if bias is None else g, *[None] * 5


def _differentiable(ctx: Any, grad: Tensor) -> list[Tensor | None]:
    """Gradients for x, weight and bias with a graph of their own, by operations that autograd knows."""
    # `grad` may be a function of x. Views of their own are independent variables here; without them what flows to x by way of
    # `grad` would be counted twice.
    own: Any = [None if t is None else t.view_as(t) for t in ctx.saved_tensors[:3]]
    x, weight, bias = own
    mean, variance, _ = _statistics(x, ctx.ranks)
    scale = (variance + ctx.eps).rsqrt()
    scale = scale if weight is None else scale * weight
    normal = (x - per_channel(mean, x)) * per_channel(scale, x)
    out = (normal if bias is None else normal + per_channel(bias, x)).to(x.dtype)
    inputs = [t for t in own if t is not None and t.requires_grad]
    gradients = iter(torch.autograd.grad(out, inputs, grad, create_graph=True))
    return [next(gradients) if t is not None and t.requires_grad else None for t in own]


def _but_channels(x: Tensor) -> list[int]:
    return [axis for axis in range(x.ndim) if axis != 1]

"""Batch normalization by the statistics of all processes that train together."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from metatc2.errors import InputError
from metatc2.ops.ranks import Ranks


class SynchronizedNorm(TorchFunctionMode):
    """Within the block every ``batch_norm`` in training has the statistics of the samples of all ranks; running ones too.

    What `torch.nn.SyncBatchNorm` does, without another module in place of the user's, and on any device.

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
        if function is nn.functional.batch_norm:
            return self._batch_norm(*args, **(kwargs or {}))
        return function(*args, **(kwargs or {}))

    def _batch_norm(
        self,
        x: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        if not training or self.ranks.alone:
            return nn.functional.batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
        mean, variance, count = self._statistics(x)
        if running_mean is not None and running_var is not None:
            with torch.no_grad():
                running_mean.lerp_(mean.to(running_mean.dtype), momentum)
                running_var.lerp_((variance * (count / (count - 1))).to(running_var.dtype), momentum)
        scale = (variance + eps).rsqrt()
        scale = scale if weight is None else scale * weight
        shape = (1, -1, *(1 for _ in x.shape[2:]))
        normal = (x - mean.view(shape)) * scale.view(shape)
        return (normal if bias is None else normal + bias.view(shape)).to(x.dtype)

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor, int]:
        """Mean and biased variance a channel over all ranks ``(C,)``, and over how many values."""
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        variance, mean = torch.var_mean(wide, [axis for axis in range(x.ndim) if axis != 1], correction=0)
        own = x.numel() // x.shape[1]
        # Moments about each rank's own mean: sums of squares would cancel.
        told = torch.stack([mean, variance, torch.full_like(mean, own)])[None]
        means, variances, counts = self.ranks.gather(told, alike=True).unbind(1)
        count = int(counts[:, 0].sum())
        if count < 2:
            raise InputError("batch normalization needs more than one value a channel; give more samples")
        share = counts / count
        overall = (share * means).sum(0)
        return overall, (share * (variances + (means - overall).square())).sum(0), count

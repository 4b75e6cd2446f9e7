"""γ: from the descriptor of a view to the code that a head is conditioned on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from metatc2.errors import InputError

_SLOWEST = 0.01  # share of a batch in the running statistics once there have been a hundred


class RunningStandardization(nn.Module):
    """Columns with zero mean and unit variance, by running statistics; a column that does not vary becomes 0.

    Columns of a descriptor have units of their own. Raw, the one with the largest numbers, the σ of the blur, would speak
    loudest. The statistics include the batch at hand, so that the first one is standardized too; in eval mode they stay.

    Args:
        columns: P.

    >>> rows = torch.tensor([[1.0, 5.0], [3.0, 5.0]])
    >>> RunningStandardization(2)(rows).round().tolist()
    [[-1.0, 0.0], [1.0, 0.0]]
    """

    mean: Tensor
    variance: Tensor
    seen: Tensor

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(columns))
        self.register_buffer("variance", torch.zeros(columns))
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """``(N, P)`` to the same."""
        if self.training:
            self._see(x.detach())
        varies = self.variance > 1e-12
        return torch.where(varies, (x - self.mean) * self.variance.where(varies, varies.new_ones(())).rsqrt(), 0.0)

    @torch.no_grad()
    def _see(self, x: Tensor) -> None:
        # Out of place: a graph of an earlier call may hold these.
        self.seen = self.seen + 1
        share = (1 / self.seen).clamp(min=_SLOWEST)
        mean = x.mean(0)
        between = (mean - self.mean).square()
        self.variance = (1 - share) * (self.variance + share * between) + share * x.var(0, unbiased=False)
        self.mean = self.mean + share * (mean - self.mean)


class DescriptorNetwork(nn.Sequential):
    """γ of CASSLE (Przewięźlikowski et al., Knowledge-Based Systems 305, 112572; arXiv 2306.06082).

    Layers of width `hidden` without bias, each with batch normalization and ReLU, then one without bias and batch
    normalization alone: no ReLU comes last. Normalization is over all views of the episode, whatever their task, for a
    descriptor does not depend on it.

    Args:
        columns: P, width of a descriptor.
        out: C, width of the code.
        hidden: width of the layers in between.
        depth: number of linear layers, at least 1.
        standardize: put `RunningStandardization` first.

    Raises:
        InputError: if there is no layer.

    >>> DescriptorNetwork(19, 64)(torch.rand(8, 19)).shape
    torch.Size([8, 64])
    """

    def __init__(self, columns: int, out: int, *, hidden: int = 64, depth: int = 6, standardize: bool = True) -> None:
        if depth < 1:
            raise InputError(f"DescriptorNetwork: depth must be at least 1, got {depth}")
        parts: list[nn.Module] = [RunningStandardization(columns)] * standardize
        for width in [columns, *[hidden] * (depth - 1)][: depth - 1]:
            parts += [nn.Linear(width, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU()]
        last = hidden if depth > 1 else columns
        super().__init__(*parts, nn.Linear(last, out, bias=False), nn.BatchNorm1d(out))

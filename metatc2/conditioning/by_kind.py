"""Layers that hold the parameters of every kind of task and compute each task with those of its own kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from metatc2.errors import InputError
from metatc2.models.heads import TaskNorm


class ByKind(nn.Module, ABC):
    """A layer for ``(tasks, rows, D)`` and the kinds ``(tasks,)``."""

    @abstractmethod
    def forward(self, x: Tensor, kinds: Tensor) -> Tensor:
        """``(tasks, rows, D)`` to ``(tasks, rows, D')``."""

    def read(self, x: Tensor, kinds: Tensor) -> Tensor:
        """The same where a row must not depend on the others."""
        result: Tensor = self(x, kinds)
        return result


class KindLinear(ByKind):
    """One linear layer a kind, all in one batched matrix product.

    Args:
        layers: one a kind, of the same shape; the parameters start as copies of theirs.

    >>> layer = KindLinear([nn.Linear(3, 2) for _ in range(4)])
    >>> layer(torch.ones(5, 7, 3), torch.tensor([0, 1, 2, 3, 0])).shape
    torch.Size([5, 7, 2])
    """

    bias: nn.Parameter | None

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.stack([layer.weight.detach() for layer in layers]))
        has_bias = layers[0].bias is not None
        self.bias = nn.Parameter(torch.stack([layer.bias.detach() for layer in layers])) if has_bias else None

    def no_weight_decay(self) -> set[str]:
        """Biases are not decayed, though these have two axes."""
        return {"bias"}

    def forward(self, x: Tensor, kinds: Tensor) -> Tensor:
        """``(tasks, rows, dim)`` to ``(tasks, rows, out)``."""
        weight = self.weight[kinds].mT
        return x @ weight if self.bias is None else torch.baddbmm(self.bias[kinds].unsqueeze(1), x, weight)


class KindNorm(ByKind):
    """`TaskNorm` with scale and shift of the task's kind.

    Training normalizes by the statistics of each task. Their running averages by kind, as batch normalization keeps them, are
    for `read` alone, where an image stands alone.

    Args:
        norms: one a kind, of the same width; the parameters start as copies of theirs.
        momentum: weight of a new task in the running averages.

    Raises:
        InputError: when a task has a single row.

    >>> norm = KindNorm([TaskNorm(2), TaskNorm(2)])
    >>> out = norm(torch.randn(3, 8, 2), torch.tensor([0, 1, 1]))
    >>> bool(out.mean(1).abs().max() < 1e-5)
    True
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, norms: Sequence[TaskNorm], momentum: float = 0.1) -> None:
        super().__init__()
        self.eps, self.momentum = norms[0].eps, momentum
        self.weight = nn.Parameter(torch.stack([norm.weight.detach() for norm in norms]))
        self.bias = nn.Parameter(torch.stack([norm.bias.detach() for norm in norms]))
        self.register_buffer("running_mean", torch.zeros_like(self.weight.detach()))
        self.register_buffer("running_var", torch.ones_like(self.weight.detach()))

    def no_weight_decay(self) -> set[str]:
        """Norms are not decayed, though these have two axes."""
        return {"weight", "bias"}

    def forward(self, x: Tensor, kinds: Tensor) -> Tensor:
        """``(tasks, rows, D)`` to the same shape."""
        if x.shape[1] < 2:
            raise InputError(f"KindNorm needs at least 2 rows a task, found {tuple(x.shape)}; enlarge the tasks")
        # As in TaskNorm: full precision, and written out for its second derivative.
        wide = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        mean = wide.mean(1, keepdim=True)
        centered = wide - mean
        variance = centered.square().mean(1, keepdim=True)
        scale = (variance + self.eps).rsqrt() * self.weight[kinds].unsqueeze(1)
        if self.training:
            self._track(mean.detach().squeeze(1), variance.detach().squeeze(1), kinds)
        return torch.addcmul(self.bias[kinds].unsqueeze(1), centered, scale).to(x.dtype)

    def read(self, x: Tensor, kinds: Tensor) -> Tensor:
        """The same by running averages."""
        scale = (self.running_var + self.eps).rsqrt() * self.weight
        shift = self.bias - self.running_mean * scale
        return torch.addcmul(shift[kinds].unsqueeze(1), x, scale[kinds].unsqueeze(1))

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, kinds: Tensor) -> None:
        own = (kinds[:, None] == torch.arange(len(self.weight), device=kinds.device)).to(mean.dtype).T
        tasks = own.sum(1, keepdim=True)
        # Kinds without a task stay as they are.
        share = self.momentum * (tasks > 0) / tasks.clamp_min(1)
        for running, new in ((self.running_mean, mean), (self.running_var, variance)):
            running.add_((share * (own @ new - tasks * running)).to(running.dtype))

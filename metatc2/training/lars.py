"""LARS: each layer's step in proportion to its weights, for the large batches of self-supervised learning."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn, optim


class LARS(optim.Optimizer):
    """Layer-wise adaptive rate scaling (You et al. 2017, arXiv 1708.03888, algorithm 1), as SimCLR and Barlow Twins use it.

    ``v ← m v + λ (g + β w)``, ``w ← w − lr · v`` with ``λ = η |w| / (|g| + β |w|)`` of each tensor (equation 6). Sets of
    parameters with ``weight_decay = 0``, biases and norms, are stepped by momentum alone: ``λ = 1``.

    Args:
        params: parameters, or sets of them.
        lr: learning rate, which a schedule may change: the momentum v does not depend on it.
        momentum: m.
        weight_decay: β.
        trust: η.

    >>> weight = nn.Parameter(torch.ones(1, 4))
    >>> weight.grad = torch.full((1, 4), 2.0)
    >>> LARS([weight], lr=1.0, weight_decay=1e-6, trust=0.1).step()
    >>> round(weight[0, 0].item(), 4)  # 1 − 0.1 · 2/4 · 2
    0.9
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
        lr: float,
        *,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust: float = 1e-3,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step.

        Args:
            closure: computes the loss and its gradient anew.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for w in group["params"]:
                if w.grad is None:
                    continue
                g = w.grad
                if group["weight_decay"]:
                    g = g.add(w, alpha=group["weight_decay"])
                    length, slope = w.norm(), w.grad.norm()
                    rate = group["trust"] * length / (slope + group["weight_decay"] * length)
                    # A tensor of zeros, as residual branches begin, is to move too.
                    g = g * torch.where((length > 0) & (slope > 0), rate, torch.ones_like(rate))
                state = self.state[w]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(w)
                v = state["momentum"].mul_(group["momentum"]).add_(g)
                w.sub_(v, alpha=group["lr"])
        return loss

"""A loss whose gradient is already known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from metatc2.inner.adjoints.vjp import connected


def carry(value: Tensor, params: Mapping[str, Tensor], gradients: Mapping[str, Tensor]) -> Tensor:
    """A scalar equal to `value` whose gradient for `params` is `gradients`; for others, and where none is given, zero.

    Raises:
        InputError: where that gradient is differentiated again.

    >>> w = torch.tensor(1.0, requires_grad=True)
    >>> loss = carry(torch.tensor(5.0), {"w": w}, {"w": torch.tensor(3.0)})
    >>> loss.backward(); loss.item(), w.grad.item()
    (5.0, 3.0)
    """
    if not torch.is_grad_enabled():
        return value
    names = list(gradients)
    result: Tensor = _Carry.apply(value, [gradients[n] for n in names], *(params[n] for n in names))
    return result


class _Carry(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: list[Tensor], *params: Tensor) -> Tensor:
        ctx.gradients = gradients
        ctx.save_for_backward(*params)
        return value.clone()

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Any, ...]:
        gradients = connected(
            lambda: tuple(slope * g for g in ctx.gradients),
            (slope, *ctx.saved_tensors),
            "the gradient of a learner on labeled tasks is taken task by task and cannot be differentiated again; "
            "differentiate task_loss instead",
        )
        return None, None, *gradients

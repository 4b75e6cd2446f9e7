"""`FiniteDifference`: second derivatives as differences of gradients."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from metatc2.inner.adjoints.base import Adjoint
from metatc2.inner.adjoints.vjp import Free, Tensors, connected, detached, length
from metatc2.inner.solver import Descent, Given, Params, descend, gradient
from metatc2.ops.numbers import Positive
from metatc2.ops.twice import math_attention


@dataclass(frozen=True)
class FiniteDifference(Adjoint):
    """Products with the Hessian of the inner loss are central differences of its gradient (DARTS, Liu et al. 2019, eq. 8).

    The derivative of the optimizer's update is exact. No second derivative of the loss is taken, so that it may have none, and
    memory is that of one gradient; each step costs two more gradients in the backward pass. Only what is *given* to the loss is
    differentiated: other tensors that it takes from its surroundings get no gradient, and no error tells of it. Torch's random
    numbers are the same in both gradients of a difference; a loss that depends on anything else than its arguments is not
    differentiated rightly. arXiv 1806.09055.

    Args:
        size: length of the difference on either side, in units of the parameters' length (of 1, if they are shorter); by
            default the cube root of the precision of the numbers, where errors of rounding and of the difference are alike.

    >>> import torchopt
    >>> from metatc2.inner import InnerLoop
    >>> loop = InnerLoop(torchopt.sgd(lr=0.25), steps=1, adjoint=FiniteDifference())
    >>> start = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    >>> adapted = loop(lambda p: p["w"] ** 2, {"w": start})["w"]      # w - 0.25 * 2w = w / 2
    >>> round(torch.autograd.grad(adapted, start)[0].item(), 6)
    0.5
    """

    size: Positive | None = None
    differentiates_update: ClassVar[bool] = True
    given_only: ClassVar[bool] = True

    def path(self, descent: Descent, params: Params, given: Sequence[Given]) -> tuple[Params, ...]:
        """See `Adjoint.path`."""

        def loss(p: Params, *rest: Given) -> Tensor:
            free, shown = Free(tuple(rest)), list(p)

            state = torch.get_rng_state()

            def again(tensors: Tensors) -> tuple[Tensor, Tensors]:
                """As `gradients`, with the random numbers that were drawn the first time."""
                with torch.random.fork_rng(devices=[]):
                    torch.set_rng_state(state)
                    return gradients(tensors)

            def gradients(tensors: Tensors) -> tuple[Tensor, Tensors]:
                """The loss and its gradients for parameters and free tensors."""
                leaves = tuple(t.detach().requires_grad_() for t in tensors)
                own, others = leaves[: len(shown)], leaves[len(shown) :]
                with torch.enable_grad(), math_attention():
                    value = descent.loss(dict(zip(shown, own, strict=True)), *free.filled(others))
                slopes = gradient(value, leaves)
                return value.detach(), tuple(
                    torch.zeros_like(t) if g is None else g for t, g in zip(leaves, slopes, strict=True)
                )

            value: Tensor = _Value.apply(gradients, again, self.size, len(shown), *p.values(), *free.tensors)
            return value

        return descend(dataclasses.replace(descent, loss=loss), params, given, graph=lambda k: True)


Gradients = Callable[[Tensors], tuple[Tensor, Tensors]]


class _Value(torch.autograd.Function):
    """The loss; its gradient for the first `count` tensors is `_Slope`, which has a derivative again."""

    @staticmethod
    def forward(
        ctx: Any, gradients: Gradients, again: Gradients, size: float | None, count: int, *tensors: Tensor
    ) -> Tensor:
        value, slopes = gradients(tensors)
        ctx.gradients, ctx.size, ctx.count, ctx.slopes = again, size, count, slopes[:count]
        ctx.save_for_backward(*tensors)
        return value

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Any, ...]:
        tensors = ctx.saved_tensors
        slopes = _Slope.apply(ctx.gradients, ctx.size, ctx.slopes, *tensors)
        return (
            None,
            None,
            None,
            None,
            *(upstream[0] * slope for slope in slopes),
            *(None for _ in tensors[ctx.count :]),
        )


class _Slope(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gradients: Gradients, size: float | None, slopes: Tensors, *tensors: Tensor) -> Tensors:
        ctx.gradients, ctx.size = gradients, size
        ctx.save_for_backward(*tensors)
        return tuple(slope.clone() for slope in slopes)

    @staticmethod
    def backward(ctx: Any, *direction: Tensor) -> tuple[Any, ...]:
        tensors = ctx.saved_tensors
        products = connected(
            lambda: _product(ctx.gradients, ctx.size, detached(tensors), detached(direction)),
            (*direction, *tensors),
            "the gradient of FiniteDifference cannot be differentiated again; use Unroll or Recompute",
        )
        return None, None, None, *products


def _product(gradients: Gradients, size: float | None, tensors: Tensors, direction: Tensors) -> Tensors:
    """Derivative of ``direction · gradient`` for all tensors; `direction` is of the first of them."""
    own, others = tensors[: len(direction)], tensors[len(direction) :]
    norm = length(direction)
    if not bool(norm > 0):
        return tuple(torch.zeros_like(t) for t in tensors)
    relative = torch.finfo(norm.dtype).eps ** (1 / 3) if size is None else size
    r = relative * length(own).clamp_min(1) / norm
    ahead, behind = (
        gradients((*(p + sign * r * v for p, v in zip(own, direction, strict=True)), *others))[1] for sign in (1, -1)
    )
    return tuple((a - b) / (2 * r) for a, b in zip(ahead, behind, strict=True))

"""What adjoints share that differentiate only what they are given: which tensors those are, and how gradients reach them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torchopt
from torch import Tensor

from metatc2.errors import InputError
from metatc2.inner.solver import Descent, Given, Params, gradients_of
from metatc2.ops import in_transform
from metatc2.ops.graph import leaves_of
from metatc2.ops.twice import differentiable_twice

Tensors = tuple[Tensor, ...]


class Free:
    """The tensors of a tree (dictionaries, tuples) that require a gradient, and the tree with others in their place.

    >>> free = Free(({"w": torch.ones(2, requires_grad=True)}, torch.zeros(1)))
    >>> free.filled((torch.full((2,), 5.0),))
    ({'w': tensor([5., 5.])}, tensor([0.]))
    """

    def __init__(self, tree: Any) -> None:
        self._leaves, self._form = torchopt.pytree.tree_flatten(tree, none_is_leaf=True)
        self._where = [i for i, t in enumerate(self._leaves) if isinstance(t, Tensor) and t.requires_grad]
        self.tensors: Tensors = tuple(self._leaves[i] for i in self._where)

    def filled(self, tensors: Sequence[Tensor]) -> Any:
        """The tree with `tensors` for those that require a gradient."""
        leaves = list(self._leaves)
        for i, t in zip(self._where, tensors, strict=True):
            leaves[i] = t
        return torchopt.pytree.tree_unflatten(self._form, leaves)


def attach(solution: Params, tensors: Tensors, vjp: Callable[[Tensors], Tensors]) -> Params:
    """The values of `solution`, whose gradients reach `tensors` as `vjp` says.

    Args:
        solution: without history.
        tensors: that require a gradient.
        vjp: gradients for the solution, in its order, to gradients for `tensors`.

    Raises:
        InputError: where these gradients are differentiated again.
    """
    return dict(zip(solution, _Attached.apply(vjp, tuple(solution.values()), *tensors), strict=True))


class _Attached(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vjp: Callable[[Tensors], Tensors], solution: Tensors, *tensors: Tensor) -> Tensors:
        ctx.vjp = vjp
        ctx.save_for_backward(*tensors)
        return tuple(t.clone() for t in solution)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        products = connected(
            lambda: ctx.vjp(gradients),
            (*gradients, *ctx.saved_tensors),
            "the gradients of Implicit and EvolutionStrategies cannot be differentiated again; use Unroll or Recompute",
        )
        return None, None, *products


def connected(compute: Callable[[], Tensors], tensors: Sequence[Tensor], sentence: str) -> Tensors:
    """What `compute` returns, for the backward pass of a function whose gradient has no gradient itself.

    Args:
        compute: without arguments.
        tensors: what the result depends on.
        sentence: of the `InputError` that is raised where the result is differentiated for one of them.
    """
    result: Tensors = _Connected.apply(compute, sentence, *tensors)
    return result


class _Connected(torch.autograd.Function):
    """Stays connected to what it depends on, where torch's `once_differentiable` would give second derivatives of zero."""

    @staticmethod
    def forward(ctx: Any, compute: Callable[[], Tensors], sentence: str, *tensors: Tensor) -> Tensors:
        ctx.sentence = sentence
        return compute()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        raise InputError(ctx.sentence)


def examine(name: str, descent: Descent, params: Params, given: Sequence[Given]) -> tuple[Tensor, Tensor]:
    """Length of the gradient, and the loss, at the start.

    Args:
        name: of the adjoint, for errors.
        descent: what will be run.
        params: where it starts.
        given: as the adjoint got it.

    Raises:
        InputError: if the loss depends on tensors that require a gradient besides `params` and `given`, rates are learned,
            vmap is running (the gradient would be lost without a word), or the loss is another at every call.
    """
    if in_transform():
        raise InputError(
            f"the adjoint {name} does not work under vmap; take tasks one by one (vmap_chunk=1), or use Unroll"
        )
    if descent.rates is not None and any(
        factor.requires_grad for k in range(descent.steps) for factor in descent.rates(k).values()
    ):
        raise InputError(f"{name}: learned rates would get no gradient; use Unroll or Recompute, or detach the rates")
    copies = {n: p.detach().requires_grad_() for n, p in params.items()}
    fixed = detached(tuple(given))
    with torch.enable_grad(), differentiable_twice():
        with torch.random.fork_rng(devices=_devices(copies)):
            slopes, value = gradients_of(lambda p: descent.loss(p, *fixed), copies, graph=False)
        first, second = value.detach(), descent.loss(copies, *fixed).detach()
    if not torch.allclose(first, second, rtol=torch.finfo(first.dtype).eps ** 0.5, equal_nan=True):
        raise InputError(
            f"{name}: the inner loss gave {float(first):.4g} and then {float(second):.4g} for the same arguments, so it "
            "depends on more than those (a mini-batch that it takes from an iterator, a random generator of its own); make it "
            "a function of its arguments, or use the adjoint Unroll"
        )
    known = {id(copy) for copy in copies.values()}
    for leaf in leaves_of(value):
        if id(leaf) not in known:
            raise InputError(
                f"{name}: the inner loss takes a tensor of shape {tuple(leaf.shape)} that requires a gradient from its "
                "surroundings, and that gradient would be lost; pass the tensor as a given argument, "
                "loop(loss, params, tensor), or detach it"
            )
    return length(tuple(slopes.values())), first


def _devices(params: Params) -> list[torch.device]:
    return list({p.device for p in params.values() if p.device.type == "cuda"})


def detached(tree: Any) -> Any:
    """The same values without history."""
    return torchopt.pytree.tree_map(lambda t: t.detach() if isinstance(t, Tensor) else t, tree, none_is_leaf=True)


def length(tensors: Tensors) -> Tensor:
    """Euclidean norm of all tensors together."""
    return inner(tensors, tensors).sqrt()


def inner(one: Tensors, other: Tensors) -> Tensor:
    """Inner product of all tensors together."""
    return torch.stack([(a * b).sum() for a, b in zip(one, other, strict=True)]).sum()

"""Gradient transformations beside torchopt's own: exact clipping, and inner optimizers by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torchopt
from torchopt.base import EmptyState, GradientTransformation

from metatc2.errors import InputError
from metatc2.io import registries
from metatc2.io.registry import Registry
from metatc2.ops.picklable import picklable

#: Of a learning rate, a transformation.
Rule = Callable[[float], GradientTransformation]
INNER_OPTIMIZERS: Registry[Rule] = registries.INNER_OPTIMIZERS


def register_inner_optimizer(name: str) -> Callable[[Rule], Rule]:
    """Decorator of a function from a learning rate to a torchopt transformation, which then can be chosen by its name.

    Args:
        name: see `Registry.register`.

    Raises:
        InputError: if the name is taken.
    """
    return INNER_OPTIMIZERS.register(name)


def clip_norm(max_norm: float) -> GradientTransformation:
    """Scale the whole gradient down to `max_norm` when it is longer; differentiable, the norm included.

    ``torchopt.clip_grad_norm`` computes the norm under ``no_grad``, so its meta-gradient is not that of the update.

    Raises:
        InputError: if `max_norm` is not positive.

    >>> clip = clip_norm(1.0)
    >>> update, _ = clip.update({"w": torch.tensor([3.0, 4.0])}, clip.init({}))
    >>> update["w"]
    tensor([0.6000, 0.8000])
    """
    if not max_norm > 0:
        raise InputError(f"clip_norm: max_norm must be > 0, got {max_norm}; leave the clipping out to switch it off")
    return picklable(_clip_norm, max_norm)


def _clip_norm(max_norm: float) -> GradientTransformation:
    def init(params: Any) -> EmptyState:
        return EmptyState()

    def update(updates: Any, state: Any, *, params: Any = None, inplace: bool = False) -> tuple[Any, Any]:
        leaves = torchopt.pytree.tree_leaves(updates)
        square = torch.stack([leaf.square().sum() for leaf in leaves]).sum()
        # Below the limit the factor is the constant 1: no square root of zero in the backward pass.
        longer = square > max_norm**2
        factor = torch.where(longer, max_norm / torch.where(longer, square, torch.ones_like(square)).sqrt(), 1.0)
        return torchopt.pytree.tree_map(lambda leaf: leaf * factor, updates), state

    return GradientTransformation(init, update)


def inner_optimizer(name: str, lr: float, clip: float = 0.0) -> GradientTransformation:
    """A torchopt optimizer whose meta-gradients are finite, by name.

    Args:
        name: one of `INNER_OPTIMIZERS`. Of ours, ``"momentum"`` and ``"nesterov"`` have 0.9, ``"adam"`` and ``"adamw"``
            ``eps_root`` 1e-8 (differentiable at zero), and ``"rmsprop"``, ``"adagrad"``, ``"adamax"``, ``"radam"`` torchopt's
            own settings: where a gradient is exactly zero, their updates jump, and `InnerLoop` takes such an entry for a
            constant.
        lr: learning rate.
        clip: largest norm of the gradient; 0 switches clipping off.

    Raises:
        InputError: if the name is unknown.

    >>> optimizer = inner_optimizer("sgd", 0.1, clip=1.0)
    """
    rule = INNER_OPTIMIZERS[name](lr)
    return clip_norm(clip).chain(rule) if clip else rule


@register_inner_optimizer("sgd")
def _sgd(lr: float) -> GradientTransformation:
    return picklable(torchopt.sgd, lr)


@register_inner_optimizer("momentum")
def _momentum(lr: float) -> GradientTransformation:
    return picklable(torchopt.sgd, lr, momentum=0.9)


@register_inner_optimizer("nesterov")
def _nesterov(lr: float) -> GradientTransformation:
    return picklable(torchopt.sgd, lr, momentum=0.9, nesterov=True)


@register_inner_optimizer("adam")
def _adam(lr: float) -> GradientTransformation:
    return picklable(torchopt.adam, lr, eps_root=1e-8)


@register_inner_optimizer("adamw")
def _adamw(lr: float) -> GradientTransformation:
    return picklable(torchopt.adamw, lr, eps_root=1e-8)


@register_inner_optimizer("rmsprop")
def _rmsprop(lr: float) -> GradientTransformation:
    return picklable(torchopt.rmsprop, lr)


@register_inner_optimizer("adagrad")
def _adagrad(lr: float) -> GradientTransformation:
    return picklable(torchopt.adagrad, lr)


@register_inner_optimizer("adamax")
def _adamax(lr: float) -> GradientTransformation:
    return picklable(torchopt.adamax, lr)


@register_inner_optimizer("radam")
def _radam(lr: float) -> GradientTransformation:
    return picklable(torchopt.radam, lr)

"""Gradient transformations beside torchopt's own: exact clipping, and inner optimisers by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
import torchopt
from torchopt.base import EmptyState, GradientTransformation

from metatc2.errors import InputError, nearest
from metatc2.ops.picklable import picklable

InnerOptimizerName = Literal["sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop", "adagrad", "adamax", "radam"]
INNER_OPTIMIZERS: tuple[str, ...] = get_args(InnerOptimizerName)


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
    """A torchopt optimiser whose meta-gradients are finite, by name.

    Args:
        name: ``"sgd"``, ``"momentum"`` and ``"nesterov"`` (0.9), ``"adam"`` and ``"adamw"`` (``eps_root`` 1e-8: differentiable
            at zero), ``"rmsprop"``, ``"adagrad"``, ``"adamax"``, ``"radam"`` with torchopt's own settings: where a
            gradient is exactly zero, their updates jump, and `InnerLoop` takes such an entry for a constant.
        lr: learning rate.
        clip: largest norm of the gradient; 0 switches clipping off.

    Raises:
        InputError: if the name is unknown.

    >>> optimizer = inner_optimizer("sgd", 0.1, clip=1.0)
    """
    rules: dict[str, Callable[[], GradientTransformation]] = {
        "sgd": lambda: picklable(torchopt.sgd, lr),
        "momentum": lambda: picklable(torchopt.sgd, lr, momentum=0.9),
        "nesterov": lambda: picklable(torchopt.sgd, lr, momentum=0.9, nesterov=True),
        "adam": lambda: picklable(torchopt.adam, lr, eps_root=1e-8),
        "adamw": lambda: picklable(torchopt.adamw, lr, eps_root=1e-8),
        "rmsprop": lambda: picklable(torchopt.rmsprop, lr),
        "adagrad": lambda: picklable(torchopt.adagrad, lr),
        "adamax": lambda: picklable(torchopt.adamax, lr),
        "radam": lambda: picklable(torchopt.radam, lr),
    }
    if name not in rules:
        raise InputError(f"unknown inner optimiser {name!r}; {nearest(name, INNER_OPTIMIZERS)}")
    rule = rules[name]()
    return clip_norm(clip).chain(rule) if clip else rule

"""higher: `innerloop_ctx` that starts from the network's own weights, as in its MAML example."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from libraries.case import BETAS, MOMENTUM, Held, Library, NotOffered, Recipe, Task


def hold(network: nn.Module, recipe: Recipe) -> Held:
    """See `libraries.case.Hold`."""
    return network, _optimizer(network, recipe)


def gradient(held: Held, recipe: Recipe, tasks: Sequence[Task]) -> None:
    """See `libraries.case.Gradient`. Option: ``grad_callback``, of its optimizer's step.

    First order is ``track_higher_grads=False``, or a `grad_callback` that detaches.
    """
    network, optimizer = held
    network.zero_grad(set_to_none=True)
    track = not recipe.first_order or "grad_callback" in recipe.options
    for task in tasks:
        with _adapted(network, optimizer, recipe, task, track) as functional:
            (cross_entropy(functional(task.query_x), task.query_y) / len(tasks)).backward()


def predict(network: nn.Module, recipe: Recipe, task: Task) -> Tensor:
    """See `libraries.case.Predict`; what it calls test mode."""
    with _adapted(network, _optimizer(network, recipe), recipe, task, track=False) as functional:
        scores: Tensor = functional(task.query_x)
    return scores


@contextmanager
def _adapted(
    network: nn.Module, optimizer: torch.optim.Optimizer, recipe: Recipe, task: Task, track: bool
) -> Iterator[Any]:
    import higher

    if recipe.optimizer == "adam" and recipe.eps_root:
        raise NotOffered("its Adam has no eps_root")
    context = higher.innerloop_ctx(network, optimizer, copy_initial_weights=False, track_higher_grads=track)
    with context as (functional, inner):
        for k in range(recipe.steps):
            inner.step(cross_entropy(functional(task.x), task.y), **_override(recipe, k), **recipe.options)
        yield functional


def _optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    if recipe.optimizer == "adam":
        return torch.optim.Adam(network.parameters(), lr=recipe.lr, betas=BETAS, eps=recipe.eps)
    momentum = MOMENTUM if recipe.optimizer == "momentum" else 0.0
    return torch.optim.SGD(network.parameters(), lr=recipe.lr, momentum=momentum)


def _override(recipe: Recipe, k: int) -> dict[str, Any]:
    # It adds eps to √v before the correction for bias and torch after it: the same once eps is scaled likewise.
    return {"override": {"eps": [recipe.eps * (1 - BETAS[1] ** (k + 1)) ** 0.5]}} if recipe.optimizer == "adam" else {}


LIBRARY = Library("higher", hold, gradient, predict)

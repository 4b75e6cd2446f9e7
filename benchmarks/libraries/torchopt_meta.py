"""torchopt: its meta-optimizers, with the network's state extracted and recovered, as in its few-shot example."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torchopt
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from libraries.case import BETAS, MOMENTUM, Held, Library, NotOffered, Recipe, Task


def hold(network: nn.Module, recipe: Recipe) -> Held:
    """See `libraries.case.Hold`."""
    return network, _optimizer(network, recipe)


def gradient(held: Held, recipe: Recipe, tasks: Sequence[Task]) -> None:
    """See `libraries.case.Gradient`. Options: those of `torchopt.extract_state_dict` for the network."""
    network, inner = held
    for p in network.parameters():
        p.grad = None
    start = torchopt.extract_state_dict(network, by="reference", **recipe.options)
    optimizer_start = torchopt.extract_state_dict(inner, by="reference")
    for task in tasks:
        _adapt(network, inner, recipe, task)
        (cross_entropy(network(task.query_x), task.query_y) / len(tasks)).backward()
        torchopt.recover_state_dict(network, start)
        torchopt.recover_state_dict(inner, optimizer_start)


def predict(network: nn.Module, recipe: Recipe, task: Task) -> Tensor:
    """See `libraries.case.Predict`."""
    inner = _optimizer(network, recipe)
    start = torchopt.extract_state_dict(network, by="reference", **recipe.options)
    _adapt(network, inner, recipe, task)
    scores: Tensor = network(task.query_x)
    torchopt.recover_state_dict(network, start)
    return scores


def _optimizer(network: nn.Module, recipe: Recipe) -> Any:
    if recipe.first_order:
        raise NotOffered("the step of a meta-optimizer always keeps the graph (create_graph=True)")
    if recipe.optimizer == "adam":
        return torchopt.MetaAdam(network, lr=recipe.lr, betas=BETAS, eps=recipe.eps, eps_root=recipe.eps_root)
    return torchopt.MetaSGD(network, lr=recipe.lr, momentum=MOMENTUM if recipe.optimizer == "momentum" else 0.0)


def _adapt(network: nn.Module, inner: Any, recipe: Recipe, task: Task) -> None:
    for _ in range(recipe.steps):
        inner.step(cross_entropy(network(task.x), task.y))


LIBRARY = Library("torchopt", hold, gradient, predict)

"""learn2learn: `MAML`, clone and adapt, as in its own examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from libraries.case import LABELS, Held, Library, NotOffered, Recipe, Task


def hold(network: nn.Module, recipe: Recipe) -> Held:
    """See `libraries.case.Hold`. Options: those of its `MAML`."""
    return network, _maml(network, recipe)


def gradient(held: Held, recipe: Recipe, tasks: Sequence[Task]) -> None:
    """See `libraries.case.Gradient`."""
    maml = held[1]
    maml.zero_grad(set_to_none=True)
    for task in tasks:
        clone = _adapted(maml, recipe, task)
        (cross_entropy(clone(task.query_x), task.query_y) / len(tasks)).backward()


def predict(network: nn.Module, recipe: Recipe, task: Task) -> Tensor:
    """See `libraries.case.Predict`."""
    scores: Tensor = _adapted(_maml(network, recipe), recipe, task)(task.query_x)
    return scores


def _maml(network: nn.Module, recipe: Recipe) -> Any:
    if recipe.optimizer != "sgd":
        raise NotOffered(f"MAML.adapt is plain SGD, there is no {LABELS[recipe.optimizer]}")
    from metatc2.contrib import require_learn2learn

    learn2learn = require_learn2learn()
    return learn2learn.algorithms.MAML(network, lr=recipe.lr, first_order=recipe.first_order, **recipe.options)


def _adapted(maml: Any, recipe: Recipe, task: Task) -> Any:
    clone = maml.clone()
    for _ in range(recipe.steps):
        clone.adapt(cross_entropy(clone(task.x), task.y))
    return clone


LIBRARY = Library("learn2learn", hold, gradient, predict)

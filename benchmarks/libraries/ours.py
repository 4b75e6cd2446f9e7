"""metatc2: the learner `MAML` on an episode."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torchopt
from torch import Tensor, nn

from libraries.case import BETAS, MOMENTUM, Held, Library, Recipe, Task
from metatc2.episodes import Episode, Samples
from metatc2.inner import FirstOrder, InnerLoop, Unroll
from metatc2.learners.maml import MAML


def learner(network: nn.Module, recipe: Recipe) -> MAML:
    """Options: ``adjoint``, ``rule`` (a transformation in place of torchopt's own) and ``norm``, see `MAML`."""
    rules = {
        "sgd": lambda: torchopt.sgd(recipe.lr),
        "momentum": lambda: torchopt.sgd(recipe.lr, momentum=MOMENTUM),
        "adam": lambda: torchopt.adam(recipe.lr, betas=BETAS, eps=recipe.eps, eps_root=recipe.eps_root),
    }
    adjoint = recipe.options.get("adjoint", FirstOrder() if recipe.first_order else Unroll())
    rule = recipe.options.get("rule") or rules[recipe.optimizer]()
    options = {"norm": recipe.options["norm"]} if "norm" in recipe.options else {}
    return MAML(network, InnerLoop(rule, recipe.steps, adjoint), **options)


def hold(network: nn.Module, recipe: Recipe) -> Held:
    """See `libraries.case.Hold`."""
    return network, learner(network, recipe)


def gradient(held: Held, recipe: Recipe, tasks: Sequence[Task]) -> None:
    """See `libraries.case.Gradient`."""
    network, maml = held
    network.zero_grad(set_to_none=True)
    maml(episode(tasks)).loss.backward()


def after_step(held: Held) -> None:
    """See `libraries.case.AfterStep`."""
    held[1].end_step()


def predict(network: nn.Module, recipe: Recipe, task: Task) -> Tensor:
    """See `libraries.case.Predict`."""
    return learner(network, recipe).predict(task.x, task.y, task.query_x)


def episode(tasks: Sequence[Task]) -> Episode:
    """The tasks stacked, one view a sample."""

    def side(images: list[Tensor], labels: list[Tensor]) -> Samples:
        y = torch.stack(labels)
        return Samples(torch.stack(images).unsqueeze(2), y, None, torch.full_like(y, -1))

    return Episode(
        side([t.x for t in tasks], [t.y for t in tasks]), side([t.query_x for t in tasks], [t.query_y for t in tasks])
    )


LIBRARY = Library("metatc2", hold, gradient, predict, after_step)

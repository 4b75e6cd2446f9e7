"""metatc2: the learner `MAML` on an episode."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torchopt
from torch import Tensor, nn

from libraries.case import BETAS, MOMENTUM, Library, Recipe, Task
from metatc2.episodes import Episode, Samples
from metatc2.inner import FirstOrder, InnerLoop, Unroll
from metatc2.learners.maml import MAML


def learner(network: nn.Module, recipe: Recipe) -> MAML:
    """Option: ``adjoint``."""
    rules = {
        "sgd": lambda: torchopt.sgd(recipe.lr),
        "momentum": lambda: torchopt.sgd(recipe.lr, momentum=MOMENTUM),
        "adam": lambda: torchopt.adam(recipe.lr, betas=BETAS, eps=recipe.eps, eps_root=recipe.eps_root),
    }
    adjoint = recipe.options.get("adjoint", FirstOrder() if recipe.first_order else Unroll())
    return MAML(network, InnerLoop(rules[recipe.optimizer](), recipe.steps, adjoint))


def meta_gradient(network: nn.Module, recipe: Recipe, tasks: Sequence[Task]) -> None:
    """See `libraries.case.MetaGradient`."""
    network.zero_grad(set_to_none=True)
    learner(network, recipe)(episode(tasks)).loss.backward()


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


LIBRARY = Library("metatc2", meta_gradient, predict)

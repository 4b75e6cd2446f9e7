"""What every library is asked to do: the task, the inner optimization, and how it may be called."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Literal

from torch import Tensor, nn

Optimizer = Literal["sgd", "momentum", "adam"]
LABELS: dict[Optimizer, str] = {"sgd": "SGD", "momentum": "momentum", "adam": "Adam"}
MOMENTUM = 0.9
BETAS = (0.9, 0.999)


@dataclass(frozen=True)
class Task:
    """Support and query of one task, inputs ``(n, ...)`` and labels ``(n,)``."""

    x: Tensor
    y: Tensor
    query_x: Tensor
    query_y: Tensor


@dataclass(frozen=True)
class Recipe:
    """The inner optimization.

    Args:
        steps: number of updates.
        lr: learning rate.
        optimizer: ``"sgd"``, ``"momentum"`` (0.9) or ``"adam"`` with torch's betas.
        eps: of Adam, ``m / (√(v + eps_root) + eps)`` with m and v corrected for bias.
        eps_root: of Adam.
        first_order: take every inner gradient as a constant.
        options: arguments of the library's own, by the names that its documentation gives them.
    """

    steps: int
    lr: float
    optimizer: Optimizer = "sgd"
    eps: float = 1e-8
    eps_root: float = 0.0
    first_order: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


class NotOffered(Exception):
    """The library has no means for it; the message says what it has instead."""


#: What a program holds between two steps: the network, and the library's object that works on it.
Held = tuple[nn.Module, Any]
Hold = Callable[[nn.Module, Recipe], Held]
#: Puts the gradient of the mean query loss over the tasks into ``.grad`` of the network's parameters.
Gradient = Callable[[Held, Recipe, Sequence[Task]], None]
#: What the library has to be told after the step of the outer optimizer.
AfterStep = Callable[[Held], None]
#: Scores of the task's queries after adapting to its support; the network keeps its parameters.
Predict = Callable[[nn.Module, Recipe, Task], Tensor]


@dataclass(frozen=True)
class Library:
    """A library in the idiom of its own documentation.

    Args:
        package: its name on the package index.
        hold: see `Hold`.
        gradient: see `Gradient`.
        predict: see `Predict`.
        after_step: see `AfterStep`; by default nothing.
    """

    package: str
    hold: Hold
    gradient: Gradient
    predict: Predict
    after_step: AfterStep = lambda held: None

    def meta_gradient(self, network: nn.Module, recipe: Recipe, tasks: Sequence[Task]) -> None:
        """Put the gradient of the mean query loss over the tasks into ``.grad`` of the network's parameters."""
        self.gradient(self.hold(network, recipe), recipe, tasks)

    @property
    def version(self) -> str:
        """The installed version."""
        return version(self.package)


def gradient_of(network: nn.Module) -> dict[str, Tensor]:
    """What `MetaGradient` left in the network, by the names of its parameters; left out where there is none."""
    return {name: p.grad for name, p in network.named_parameters() if p.grad is not None}

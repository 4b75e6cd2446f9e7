"""Meta-training leaves nothing behind: as many tensors are alive after many steps as after few."""

from __future__ import annotations

import dataclasses
import gc

import torch
from libraries import Library, Recipe
from torch import Tensor

from metatc2.inner import EvolutionStrategies, FirstOrder, Implicit, Recompute, Truncated
from situations import networks
from situations.situation import Failed, Situation, tasks

FEW, MANY = 5, 50
ADJOINTS = (
    Recompute(),
    Truncated(1),
    FirstOrder(),
    Implicit(proximal=2.0, warn_above=float("inf")),
    EvolutionStrategies(2),
)


def nothing_left(library: Library, recipe: Recipe) -> str:
    """For ours with every adjoint."""
    detail = _counted(library, recipe)
    if library.package == "metatc2":
        for adjoint in ADJOINTS:
            try:
                _counted(library, dataclasses.replace(recipe, options={"adjoint": adjoint}))
            except Failed as failure:
                raise Failed(f"with {type(adjoint).__name__}: {failure}") from failure
        detail += "; with every adjoint"
    return detail


def _counted(library: Library, recipe: Recipe) -> str:
    held, data, alive = library.hold(networks.mlp(), recipe), tasks(5), []
    optimizer = torch.optim.SGD(held[0].parameters(), 0.01)
    for step in range(1, MANY + 1):
        library.gradient(held, recipe, data)
        optimizer.step()
        library.after_step(held)
        if step in (FEW, MANY):
            alive.append(_alive())
    grown = alive[1] - alive[0]
    if grown:
        raise Failed(f"{grown / (MANY - FEW):.0f} more tensors alive after every step")
    return f"{alive[1]} tensors alive after {MANY} steps as after {FEW}"


def _alive() -> int:
    gc.collect()
    return sum(issubclass(type(result), Tensor) for result in gc.get_objects())


SITUATIONS = (Situation("tensors alive after 5 and after 50 steps", Recipe(3, 0.1), nothing_left),)

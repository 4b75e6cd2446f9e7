"""Fifty inner steps of Conv-4 in memory that does not grow with them."""

from __future__ import annotations

import multiprocessing
import os

import torch
from common import resident
from libraries import LIBRARIES, Library, Recipe, Task, gradient_of
from torch import nn

from metatc2.inner import Recompute
from metatc2.models.conv4 import Conv4
from metatc2.models.heads import Classifier
from situations import networks
from situations.situation import Failed, Situation, Way, tasks

FEW, MANY, LIMIT = 5, 50, 2.0
CLASSES, SHOT, QUERY = 5, 5, 5
#: glibc maps larger blocks by themselves, and gives them back when they are freed. By default it keeps them in its heap, where
#: the small nodes of the graph soon stand between them; then a process grows without holding more.
MALLOC = "MALLOC_MMAP_THRESHOLD_"
THRESHOLD = "65536"


def bounded(library: Library, recipe: Recipe) -> str:
    """The peak of a fresh process grows less than twice as much with 50 steps as with 5."""
    name = next(name for name, known in LIBRARIES.items() if known is library)
    recipes = [Recipe(steps, recipe.lr, options=recipe.options) for steps in (FEW, MANY)]
    few, many = (_in_a_fresh_process(name, r, THRESHOLD) for r in recipes)
    result = (
        f"{MANY} steps take {many / few:.1f} times the memory of {FEW} ({many / 1e6:.0f} against {few / 1e6:.0f} MB)"
    )
    if many >= LIMIT * few:
        raise Failed(result)
    few, many = (_in_a_fresh_process(name, r, None) for r in recipes)
    return f"{result}; without {MALLOC}={THRESHOLD} the process grows by {many / 1e6:.0f} against {few / 1e6:.0f} MB"


def _in_a_fresh_process(name: str, recipe: Recipe, threshold: str | None) -> int:
    os.environ.pop(MALLOC, None)
    if threshold is not None:
        os.environ[MALLOC] = threshold  # read when a process starts
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(peak, (name, recipe))


def peak(name: str, recipe: Recipe) -> int:
    """Bytes by which one meta-gradient raises the peak of this process."""
    torch.set_num_threads(1)
    library = LIBRARIES[name]
    library.meta_gradient(networks.mlp(), Recipe(1, 0.1), tasks(5))  # its imports do not count
    net, data = _conv4(), _images()
    before = resident("VmRSS")
    library.meta_gradient(net, recipe, [data])
    assert len(gradient_of(net)) == len(list(net.parameters()))
    return resident("VmHWM") - before


def _conv4() -> nn.Module:
    torch.manual_seed(0)
    return Classifier(Conv4(1, 64), 64, CLASSES).train()


def _images() -> Task:
    g = torch.Generator().manual_seed(0)
    (x, y), (query_x, query_y) = (
        (torch.rand(CLASSES * n, 1, 28, 28, generator=g), torch.arange(CLASSES).repeat(n)) for n in (SHOT, QUERY)
    )
    return Task(x, y, query_x, query_y)


SITUATIONS = (
    Situation(
        "50 inner steps in bounded memory",
        Recipe(MANY, 0.01),
        bounded,
        {"ours": [Way("adjoint=Recompute()", {"options": {"adjoint": Recompute()}})]},
    ),
)

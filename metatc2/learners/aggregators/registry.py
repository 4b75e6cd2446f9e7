"""Ways to combine the gradients of tasks by name."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from metatc2.io import registries
from metatc2.io.registry import Registry

#: ``(tasks, P)`` gradients to one ``(P,)``.
Aggregate = Callable[[Tensor], Tensor]
AGGREGATORS: Registry[Aggregate] = registries.AGGREGATORS


def register_aggregator(name: str) -> Callable[[Aggregate], Aggregate]:
    """Decorator of a function of gradients ``(tasks, P)`` to one ``(P,)``, which `GradientSurgery` then knows by its name.

    Args:
        name: see `Registry.register`.

    Raises:
        InputError: if the name is taken.
    """
    return AGGREGATORS.register(name)


def build_aggregator(name: str) -> Aggregate:
    """An aggregator by name, after a look whether its packages are installed.

    Args:
        name: one of `AGGREGATORS`.

    Raises:
        InputError: if the name is unknown.
        MissingPackage: if torchjd, or what it solves with, is not installed.

    >>> build_aggregator("pcgrads")
    Traceback (most recent call last):
    metatc2.errors.InputError: unknown aggregator 'pcgrads'; did you mean 'pcgrad'? Known: mean, nash-mtl, pcgrad, upgrad
    """
    aggregator = AGGREGATORS[name]
    with torch.random.fork_rng(devices=[]):  # PCGrad draws an order
        aggregator(torch.eye(2))
    return aggregator

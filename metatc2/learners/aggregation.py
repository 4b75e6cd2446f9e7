"""Gradients of several tasks to one direction, by the aggregators of torchjd."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from metatc2.errors import InputError, MissingPackage, nearest

#: ``(tasks, P)`` gradients to one ``(P,)``.
Aggregate = Callable[[Tensor], Tensor]

# cvxpy's word on how torchjd states the problem of Nash-MTL; it is solved all the same.
_NOT_PARAMETRIZED = "You are solving a parameterized problem that is not DPP"


def mean(gradients: Tensor) -> Tensor:
    """The plain mean, the control of the others.

    >>> mean(torch.tensor([[1.0, 0.0], [-1.0, 2.0]])).tolist()
    [0.0, 1.0]
    """
    return _aggregator("Mean")(gradients)


def pcgrad(gradients: Tensor) -> Tensor:
    """PCGrad (Yu et al. 2020, arXiv 2001.06782, algorithm 1): each gradient loses what opposes another, one after the other.

    The order of the others is drawn from torch's own generator, whose state checkpoints hold. The sum of the paper is divided
    by the number of tasks, so that it is the mean where no two gradients oppose.

    >>> pcgrad(torch.tensor([[1.0, 0.0], [-1.0, 2.0]])).round(decimals=2)
    tensor([0.4000, 1.2000])
    """
    return _aggregator("PCGrad")(gradients) / len(gradients)


def upgrad(gradients: Tensor) -> Tensor:
    """UPGrad (Quinton and Rey 2024, arXiv 2406.16232): each gradient projected to where no task loses, then the mean.

    >>> upgrad(torch.tensor([[1.0, 0.0], [-1.0, 2.0]])).round(decimals=2)
    tensor([0.4000, 1.2000])
    """
    return _aggregator("UPGrad")(gradients)


def nash_mtl(gradients: Tensor) -> Tensor:
    """Nash-MTL (Navon et al. 2022, arXiv 2202.01017): weights α with ``J Jᵀ α = 1 / α``, J the gradients; of length 1.

    The length is that of torchjd and of the paper's code, whatever the length of the gradients. The solver starts anew at each
    call, so that a run that is resumed takes the same steps. A task without a gradient has nothing to bargain for, and is left
    out.

    >>> nash_mtl(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])).round(decimals=2)
    tensor([0.7100, 0.7100])
    """
    size = gradients.norm(dim=1)
    some = size > 0
    if int(some.sum()) < 2:
        only: Tensor = gradients.sum(0) / size.sum().clamp_min(torch.finfo(size.dtype).tiny)
        return only
    # Of usual size the gradients are near the solver's start; its result has the same direction and length.
    kept = gradients[some] / size[some].mean()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=_NOT_PARAMETRIZED, category=UserWarning)
        direction: Tensor = _aggregator("NashMTL", n_tasks=len(kept))(kept)
    return direction


AGGREGATORS: dict[str, Aggregate] = {"mean": mean, "nash-mtl": nash_mtl, "pcgrad": pcgrad, "upgrad": upgrad}


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
    if name not in AGGREGATORS:
        raise InputError(f"unknown aggregator {name!r}; {nearest(name, AGGREGATORS)}")
    found = AGGREGATORS[name]
    with torch.random.fork_rng(devices=[]):  # PCGrad draws an order
        found(torch.eye(2))
    return found


def _aggregator(kind: str, **options: Any) -> Aggregate:
    try:
        # Imported where it is used: it is an optional package.
        found: Aggregate = getattr(import_module("torchjd.aggregation"), kind)(**options)
    except ImportError as error:
        raise MissingPackage(
            f"gradient surgery by {kind} needs torchjd and its solvers ({error}); run: pip install 'metatc2[surgery]'"
        ) from error
    return found

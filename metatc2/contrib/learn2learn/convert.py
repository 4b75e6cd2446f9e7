"""What learn2learn's MAML has learned, under our learner."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from metatc2.contrib.learn2learn.package import require_learn2learn
from metatc2.errors import InputError
from metatc2.inner import FirstOrder, InnerLoop, Unroll, inner_optimizer
from metatc2.learners.maml import MAML

_PREFIX = "module."


def from_learn2learn(maml: Any, *, steps: int, **options: Any) -> MAML:
    """Our MAML around the module of a ``learn2learn.algorithms.MAML``, with its learning rate and its order.

    After the same steps on the same support it predicts what ``clone``, ``adapt`` and a call of the clone give, if the module
    has as many outputs as the task has classes and learn2learn ran it in training mode, where batch normalization
    goes by the batch (our policy ``"batch"``, the default here). Nothing leaks into the running statistics here; learn2learn
    moves them. Dropout follows the module's mode in both.

    Args:
        maml: learn2learn's learner; the module is shared and not copied.
        steps: inner steps, which learn2learn leaves to the loop around it.
        options: of `MAML`, e.g. ``criterion``, ``norm="frozen"`` for a module that learn2learn ran in evaluation mode.

    Raises:
        InputError: if it is another kind of learner.
        MissingPackage: if learn2learn is not installed.

    >>> from torch import nn
    >>> theirs = require_learn2learn().algorithms.MAML(nn.Linear(2, 3), lr=0.1, first_order=True)
    >>> ours = from_learn2learn(theirs, steps=5)
    >>> ours.network is theirs.module, ours.inner.steps, ours.inner.adjoint
    (True, 5, FirstOrder())
    """
    algorithms = require_learn2learn().algorithms
    if not isinstance(maml, algorithms.MAML):
        raise InputError(
            f"from_learn2learn: expected a learn2learn.algorithms.MAML, got {type(maml).__module__}.{type(maml).__name__}; for "
            "bare weights build the network, load strip_module(state_dict) into it and use metatc2.learners.maml.MAML"
        )
    adjoint = FirstOrder() if maml.first_order else Unroll()
    learner = MAML(maml.module, InnerLoop(inner_optimizer("sgd", float(maml.lr)), steps, adjoint), **options)
    learner.training = maml.training
    return learner


def strip_module(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A checkpoint of learn2learn's MAML as one of the network inside: names without their first ``module.``.

    Args:
        state_dict: of ``learn2learn.algorithms.MAML``, or of the network itself, which comes back as it is.

    Raises:
        InputError: if some names have the prefix and others have not.

    >>> strip_module({"module.weight": 1, "module.bias": 2})
    {'weight': 1, 'bias': 2}
    """
    other = [name for name in state_dict if not name.startswith(_PREFIX)]
    if len(other) == len(state_dict):
        return dict(state_dict)
    if other:
        raise InputError(
            f"strip_module: {other[0]!r} does not start with {_PREFIX!r} as other names do, so this is no checkpoint of "
            "learn2learn's MAML (its MetaSGD keeps learning rates beside the module); leave out what is not of the network"
        )
    return {name.removeprefix(_PREFIX): value for name, value in state_dict.items()}

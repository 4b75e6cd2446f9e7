"""How to differentiate an inner loop: one small class a way."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
import torchopt
from torch import Tensor

from metatc2.errors import InputError

Params = dict[str, Tensor]
InnerLoss = Callable[[Params], Tensor]


class Adjoint(ABC):
    """Runs the inner loop so that what it returns can be differentiated in one particular way."""

    #: True when the derivative of the optimiser's update itself is used, so that it has to be right.
    differentiates_update: ClassVar[bool]

    @abstractmethod
    def adapt(
        self, loss: InnerLoss, params: Params, optimizer: torchopt.base.GradientTransformation, steps: int, guard: bool
    ) -> Params:
        """Adapted parameters after `steps` updates from `params`; the arguments are those of `InnerLoop`.

        Args:
            loss: scalar loss of a parameter dictionary.
            params: where to start; never changed.
            optimizer: torchopt transformation.
            steps: number of updates.
            guard: the optimiser's derivative is NaN at a gradient of exactly zero; see `InnerLoop`.
        """


@dataclass(frozen=True)
class Unroll(Adjoint):
    """Exact: keep the graph of every step and differentiate through all of it (MAML, Finn et al. 2017, eq. 1).

    Memory grows with the number of steps.
    """

    differentiates_update: ClassVar[bool] = True

    def adapt(
        self, loss: InnerLoss, params: Params, optimizer: torchopt.base.GradientTransformation, steps: int, guard: bool
    ) -> Params:
        """See `Adjoint.adapt`."""
        return _descend(loss, params, optimizer, steps, guard=guard, create_graph=True)


@dataclass(frozen=True)
class FirstOrder(Adjoint):
    """Treat every inner gradient as a constant: the adapted parameters depend on the initial ones by identity alone.

    First-order MAML (Finn et al. 2017, section 5.2). Nothing flows to whatever else the inner loss depends on.
    """

    differentiates_update: ClassVar[bool] = False

    def adapt(
        self, loss: InnerLoss, params: Params, optimizer: torchopt.base.GradientTransformation, steps: int, guard: bool
    ) -> Params:
        """See `Adjoint.adapt`."""
        return _descend(loss, params, optimizer, steps, guard=False, create_graph=False)


def _descend(
    loss: InnerLoss,
    params: Params,
    optimizer: torchopt.base.GradientTransformation,
    steps: int,
    *,
    guard: bool,
    create_graph: bool,
) -> Params:
    # The inner loop needs gradients also where the caller evaluates without them (transfer, validation).
    outer_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        current = {name: p if p.requires_grad else p.detach().requires_grad_() for name, p in params.items()}
        state = optimizer.init({name: p.detach() for name, p in current.items()})
        for _ in range(steps):
            value = loss(current)
            gradients = _gradients(value, current, create_graph=create_graph and outer_graph)
            if guard:
                gradients = {name: torch.where(g == 0, g.detach(), g) for name, g in gradients.items()}
            updates, state = optimizer.update(gradients, state, params=current, inplace=False)
            current = {name: p + updates[name] for name, p in current.items()}
            if not outer_graph:
                current = {name: p.detach().requires_grad_() for name, p in current.items()}
    return current if outer_graph else {name: p.detach() for name, p in current.items()}


def _gradients(value: Tensor, params: Params, *, create_graph: bool) -> Params:
    if not value.requires_grad:
        raise InputError(
            "inner loss does not depend on the adapted parameters; compute it from the dictionary that it is given "
            "(torch.func.functional_call) and not from the module's own parameters"
        )
    # Parameters that this loss does not reach (a head that is not used) stay where they are.
    found = torch.autograd.grad(value, list(params.values()), create_graph=create_graph, allow_unused=True)
    if all(g is None for g in found):
        raise InputError(
            "inner loss does not depend on any adapted parameter "
            f"({', '.join(list(params)[:4])}{', ...' if len(params) > 4 else ''}); "
            "compute it from the dictionary that it is given"
        )
    return {
        name: g if g is not None else torch.zeros_like(p) for (name, p), g in zip(params.items(), found, strict=True)
    }

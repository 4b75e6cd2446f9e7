"""`Unroll`: differentiate through every step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from metatc2.inner.adjoints.base import Adjoint
from metatc2.inner.adjoints.registry import register_adjoint
from metatc2.inner.solver import Descent, Given, Params, descend


@register_adjoint("unroll")
@dataclass(frozen=True)
class Unroll(Adjoint):
    """Exact: keep the graph of every step and differentiate through all of it (MAML, Finn et al. 2017, eq. 1).

    Memory grows with the number of steps.

    >>> import torch, torchopt
    >>> from metatc2.inner import InnerLoop
    >>> loop = InnerLoop(torchopt.sgd(lr=0.25), steps=2, adjoint=Unroll())
    >>> start = torch.tensor(2.0, requires_grad=True)
    >>> adapted = loop(lambda p: p["w"] ** 2, {"w": start})["w"]      # halves w twice
    >>> adapted.item(), torch.autograd.grad(adapted, start)[0].item()
    (0.5, 0.25)
    """

    differentiates_update: ClassVar[bool] = True

    def path(self, descent: Descent, params: Params, given: Sequence[Given]) -> tuple[Params, ...]:
        """See `Adjoint.path`."""
        return descend(descent, params, given, graph=lambda k: True)

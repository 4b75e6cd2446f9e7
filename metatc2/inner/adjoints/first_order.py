"""`FirstOrder`: take the inner gradients for constants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from metatc2.inner.adjoints.base import Adjoint
from metatc2.inner.adjoints.registry import register_adjoint
from metatc2.inner.solver import Descent, Given, Params, descend


@register_adjoint("first-order")
@dataclass(frozen=True)
class FirstOrder(Adjoint):
    """Treat every inner gradient as a constant: the adapted parameters depend on the initial ones by identity alone.

    First-order MAML (Finn et al. 2017, section 5.2). Nothing flows to whatever else the inner loss depends on.

    >>> import torch, torchopt
    >>> from metatc2.inner import InnerLoop
    >>> loop = InnerLoop(torchopt.sgd(lr=0.25), steps=2, adjoint=FirstOrder())
    >>> start = torch.tensor(2.0, requires_grad=True)
    >>> adapted = loop(lambda p: p["w"] ** 2, {"w": start})["w"]      # halves w twice
    >>> adapted.item(), torch.autograd.grad(adapted, start)[0].item()
    (0.5, 1.0)
    """

    differentiates_update: ClassVar[bool] = False

    def path(self, descent: Descent, params: Params, given: Sequence[Given]) -> tuple[Params, ...]:
        """See `Adjoint.path`."""
        return descend(descent, params, given, graph=lambda k: False)

"""`Truncated`: differentiate through the last steps alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from metatc2.errors import InputError
from metatc2.inner.adjoints.base import Adjoint
from metatc2.inner.adjoints.registry import register_adjoint
from metatc2.inner.solver import Descent, Given, Params, descend
from metatc2.ops.numbers import NotNegativeCount


@register_adjoint("truncated")
@dataclass(frozen=True)
class Truncated(Adjoint):
    """Differentiate through the last steps alone (Shaban et al. 2019, arXiv 1810.10667); earlier ones as `FirstOrder`.

    ``Truncated(0)`` is `FirstOrder`, and with all steps it is `Unroll`. Memory grows with
    their number.

    Args:
        last_steps: how many steps at the end are differentiated.

    Raises:
        InputError: if `last_steps` is negative.

    >>> import torch, torchopt
    >>> from metatc2.inner import InnerLoop
    >>> loop = InnerLoop(torchopt.sgd(lr=0.25), steps=2, adjoint=Truncated(last_steps=1))
    >>> start = torch.tensor(2.0, requires_grad=True)
    >>> adapted = loop(lambda p: p["w"] ** 2, {"w": start})["w"]      # halves w twice
    >>> adapted.item(), torch.autograd.grad(adapted, start)[0].item()
    (0.5, 0.5)
    """

    last_steps: NotNegativeCount = 1
    differentiates_update: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.last_steps < 0:
            raise InputError(f"Truncated: last_steps must be ≥ 0, got {self.last_steps}")

    def path(self, descent: Descent, params: Params, given: Sequence[Given]) -> tuple[Params, ...]:
        """See `Adjoint.path`."""
        return descend(descent, params, given, graph=lambda k: k >= descent.steps - self.last_steps)

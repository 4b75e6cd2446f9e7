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
    """

    differentiates_update: ClassVar[bool] = True

    def path(self, descent: Descent, params: Params, given: Sequence[Given]) -> tuple[Params, ...]:
        """See `Adjoint.path`."""
        return descend(descent, params, given, graph=lambda k: True)

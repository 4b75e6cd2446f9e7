"""How to differentiate an inner loop: one small class a way."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from metatc2.errors import InputError
from metatc2.inner.solver import Descent, Given, Params, descend


class Adjoint(ABC):
    """Runs the inner loop so that what it returns can be differentiated in one particular way."""

    #: True when the derivative of the optimiser's update itself is used, so that it has to be right.
    differentiates_update: ClassVar[bool]

    @abstractmethod
    def path(self, descent: Descent, params: Params, given: Sequence[Given]) -> tuple[Params, ...]:
        """All iterates in order, the start left out; `Implicit` and `EvolutionStrategies` have only the last.

        Args:
            descent: what to minimise and how.
            params: where to start; never changed.
            given: passed on to the loss after the parameters.
        """


@dataclass(frozen=True)
class Unroll(Adjoint):
    """Exact: keep the graph of every step and differentiate through all of it (MAML, Finn et al. 2017, eq. 1).

    Memory grows with the number of steps.
    """

    differentiates_update: ClassVar[bool] = True

    def path(self, descent: Descent, params: Params, given: Sequence[Given]) -> tuple[Params, ...]:
        """See `Adjoint.path`."""
        return descend(descent, params, given, graph=lambda k: True)


@dataclass(frozen=True)
class FirstOrder(Adjoint):
    """Treat every inner gradient as a constant: the adapted parameters depend on the initial ones by identity alone.

    First-order MAML (Finn et al. 2017, section 5.2). Nothing flows to whatever else the inner loss depends on.
    """

    differentiates_update: ClassVar[bool] = False

    def path(self, descent: Descent, params: Params, given: Sequence[Given]) -> tuple[Params, ...]:
        """See `Adjoint.path`."""
        return descend(descent, params, given, graph=lambda k: False)


@dataclass(frozen=True)
class Truncated(Adjoint):
    """Differentiate through the last `last` steps alone (Shaban et al. 2019, arXiv 1810.10667); earlier ones as `FirstOrder`.

    ``Truncated(0)`` is `FirstOrder`, and with all steps it is `Unroll`. Memory grows with `last`.

    Raises:
        InputError: if `last` is negative.
    """

    last: int
    differentiates_update: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.last < 0:
            raise InputError(f"Truncated: last must be ≥ 0, got {self.last}")

    def path(self, descent: Descent, params: Params, given: Sequence[Given]) -> tuple[Params, ...]:
        """See `Adjoint.path`."""
        return descend(descent, params, given, graph=lambda k: k >= descent.steps - self.last)

"""What a way to differentiate an inner loop is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

from metatc2.inner.solver import Descent, Given, Params


class Adjoint(ABC):
    """Runs the inner loop so that what it returns can be differentiated in one particular way."""

    #: True when the derivative of the optimizer's update itself is used, so that it has to be right.
    differentiates_update: ClassVar[bool]
    #: True when the loss must be given every tensor that gets a gradient; one from its surroundings is an error then.
    given_only: ClassVar[bool] = False
    #: Defaults of its arguments that differ where it is chosen by its name.
    usual: ClassVar[Mapping[str, Any]] = MappingProxyType({})

    @abstractmethod
    def path(self, descent: Descent, params: Params, given: Sequence[Given]) -> tuple[Params, ...]:
        """All iterates in order, the start left out; `Implicit` and `EvolutionStrategies` have only the last.

        Args:
            descent: what to minimise and how.
            params: where to start; never changed.
            given: passed on to the loss after the parameters.
        """

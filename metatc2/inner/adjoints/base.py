"""What a way to differentiate an inner loop is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from metatc2.inner.solver import Descent, Given, Params


@dataclass(frozen=True)
class AdjointSettings:
    """What an adjoint is built from by its name; each takes what it needs.

    Args:
        last_steps: of `Truncated`.
        samples: of `EvolutionStrategies`.
    """

    last_steps: int = 1
    samples: int = 64


class Adjoint(ABC):
    """Runs the inner loop so that what it returns can be differentiated in one particular way."""

    #: True when the derivative of the optimizer's update itself is used, so that it has to be right.
    differentiates_update: ClassVar[bool]
    #: True when the loss must be given every tensor that gets a gradient; one from its surroundings is an error then.
    given_only: ClassVar[bool] = False

    @classmethod
    def from_settings(cls, settings: AdjointSettings) -> Self:
        """The adjoint that `settings` describe, by default one without options; how it is built by its name."""
        return cls()

    @abstractmethod
    def path(self, descent: Descent, params: Params, given: Sequence[Given]) -> tuple[Params, ...]:
        """All iterates in order, the start left out; `Implicit` and `EvolutionStrategies` have only the last.

        Args:
            descent: what to minimise and how.
            params: where to start; never changed.
            given: passed on to the loss after the parameters.
        """

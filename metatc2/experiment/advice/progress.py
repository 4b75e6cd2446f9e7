"""How far advice has come, and how long the rest will take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class AdviceProgress:
    """Where it stands.

    Args:
        what: is done now, or was.
        done: jobs that are finished.
        jobs: in all.
        share: of the job in hand that is done, in [0, 1].
        left: seconds that the rest will take; None while that is unknown.
        finished: whether `what` is.
    """

    what: str
    done: int
    jobs: int
    share: float
    left: float | None
    finished: bool


class Jobs:
    """Counts jobs of unequal length and says how long the rest will take.

    Args:
        expected: seconds of each, in order; 0 where it is not known.
        tell: gets an `AdviceProgress` whenever something has changed.
        clock: seconds.

    >>> told = []
    >>> jobs = Jobs([10.0, 30.0], told.append, iter([0.0, 20.0, 20.0, 20.0]).__next__)
    >>> jobs.begin("a")
    >>> jobs.end("a")
    >>> told[-1].done, told[-1].left
    (1, 60.0)
    """

    def __init__(
        self, expected: list[float], tell: Callable[[AdviceProgress], None], clock: Callable[[], float]
    ) -> None:
        self.expected, self.tell, self.clock = expected, tell, clock
        self.done = 0
        self._begun = 0.0
        self._took: list[tuple[float, float]] = []  # expected and real seconds of what was done here

    def begin(self, what: str) -> None:
        """The next job is in hand."""
        self._begun = self.clock()
        self._say(what, 0.0, finished=False)

    def within(self, what: str, share: float) -> None:
        """So much of it is done."""
        self._say(what, share, finished=False)

    def end(self, what: str, *, earlier: bool = False) -> None:
        """It is done.

        Args:
            what: was.
            earlier: whether an earlier call had done it, so that its time says nothing.
        """
        if not earlier:
            self._took.append((self.expected[self.done], self.clock() - self._begun))
        self.done += 1
        self._say(what, 0.0, finished=True)

    def _say(self, what: str, share: float, *, finished: bool) -> None:
        self.tell(AdviceProgress(what, self.done, len(self.expected), share, self._left(share), finished))

    def _left(self, share: float) -> float | None:
        rest = self.expected[self.done :]
        known = [(said, took) for said, took in self._took if said > 0]
        unknown = [took for said, took in self._took if said <= 0]
        ratio = sum(took for _, took in known) / sum(said for said, _ in known) if known else 1.0
        usual = sum(unknown) / len(unknown) if unknown else 0.0
        seconds = [said * ratio if said > 0 else usual for said in rest]
        if not any(seconds):
            return None if rest else 0.0
        return sum(seconds) - share * seconds[0]

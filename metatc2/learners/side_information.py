"""What heads and objectives are told beside the representation: what each task is, and how each view was made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from metatc2.episodes import TaskIdentity


@dataclass(frozen=True)
class SideInformation:
    """Told to the heads and the objective of an episode, cut and merged as the representation is.

    Args:
        identity: what the tasks are.
        descriptors: how views were made, ``(tasks, samples, views, P)``.
        code: what a conditioned projector made of the descriptors, ``(tasks, samples, views, C)``.
        predictor_code: what a conditioned predictor did.
        target_code: what the momentum branch's projector did, without gradient.
        answers: what the objective took from the images, ``(tasks, samples, views, A)``.
    """

    identity: TaskIdentity | None = None
    descriptors: Tensor | None = None
    code: Tensor | None = None
    predictor_code: Tensor | None = None
    target_code: Tensor | None = None
    answers: Tensor | None = None

    def of_samples(self, part: slice) -> SideInformation:
        """Of some samples of every task."""
        return self._map(self.identity, lambda x: x[:, part])

    def of_tasks(self, tasks: Sequence[int]) -> SideInformation:
        """Of some tasks, whose identity is left out."""
        return self._map(None, lambda x: x[list(tasks)])

    def detached(self) -> SideInformation:
        """Without gradient."""
        return self._map(self.identity, Tensor.detach)

    def merged(self) -> SideInformation:
        """Of all tasks as one, which has no identity."""
        return self._map(None, lambda x: x.flatten(0, 1)[None])

    def _map(self, identity: TaskIdentity | None, f: Callable[[Tensor], Tensor]) -> SideInformation:
        tensors = (self.descriptors, self.code, self.predictor_code, self.target_code, self.answers)
        return SideInformation(identity, *(None if x is None else f(x) for x in tensors))


#: Nothing is told.
NOTHING = SideInformation()

"""What is said of a learner on labeled tasks that has a name, and what it is built from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from metatc2.inner import Adjoint, FirstOrder, InnerLoop, inner_optimizer
from metatc2.ops.functional import NormPolicy


@dataclass(frozen=True)
class Entry:
    """What is said of a learner that has a name.

    Args:
        summary: one line.
        source: paper.
        inner: whether it has an inner loop, so that settings of one mean something.
        adapts: whether ``adapt`` may choose what adapts.
        fixed_adjoint: whether the inner loop can be differentiated in one way alone.
        linear_head: whether a linear head is meta-learned, which may be shared.
    """

    summary: str
    source: str
    inner: bool = False
    adapts: bool = False
    fixed_adjoint: bool = False
    linear_head: bool = False


@dataclass(frozen=True)
class Settings:
    """What a learner is built from; None leaves the choice to the learner.

    Args:
        dim: width of the encoder's features.
        way: most classes of a task.
        optimizer, lr, steps, clip: of the inner loop.
        test_steps: inner steps outside training.
        adjoint: how the inner loop is differentiated.
        adapt: patterns of the parameters that adapt.
        norm, at_once: see `LabeledLearner`.
        shared_head: see `Classifier`.
        class_of: class of every row of the store, for learners that train on all classes at once.
    """

    dim: int
    way: int = 5
    optimizer: str | None = None
    lr: float | None = None
    steps: int | None = None
    clip: float = 0.0
    test_steps: int | None = None
    adjoint: Adjoint | None = None
    adapt: Sequence[str] = ()
    norm: NormPolicy = "batch"
    at_once: int = 1
    shared_head: bool = False
    class_of: Tensor | None = None

    def inner(self, optimizer: str, lr: float, steps: int, adjoint: Adjoint) -> InnerLoop:
        """The inner loop with a learner's own choices where nothing was chosen."""
        rule = inner_optimizer(self.optimizer or optimizer, lr if self.lr is None else self.lr, clip=self.clip)
        return InnerLoop(rule, steps if self.steps is None else self.steps, self.adjoint or adjoint)

    def head_loop(self) -> InnerLoop | None:
        """The inner loop of a convex head; None leaves it to the learner altogether."""
        chosen = (self.optimizer, self.lr, self.steps)
        return (
            None if chosen == (None, None, None) and not self.clip else self.inner("nesterov", 1.0, 100, FirstOrder())
        )

    @property
    def common(self) -> dict[str, Any]:
        """Options of every learner."""
        return {"norm": self.norm, "at_once": self.at_once}

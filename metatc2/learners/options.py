"""What a learner on labeled tasks is built from: its options, and what is known of its tasks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypedDict

from pydantic import Field
from torch import Tensor

from metatc2.inner import Adjoint, AdjointChoice, InnerLoop, adjoint_options, inner_optimizer
from metatc2.io.options import Count, Factor, InnerOptimizerName, Options
from metatc2.ops.functional import NormPolicy, Predicate


@dataclass(frozen=True)
class Tasks:
    """What is known of the tasks that a learner is built for.

    Args:
        dim: width of the encoder's features.
        way: most classes of a task.
        class_of: class of every row of the store, for learners that train on all classes at once.
    """

    dim: int
    way: int = 5
    class_of: Tensor | None = None


class LearnerOptions(Options):
    """Options of every learner on labeled tasks; one with more of them has a subclass beside it.

    Args are documented by their fields.
    """

    section = "learner"

    name: str = Field(description="ssl (an objective, calibrated or not), or a learner on labeled tasks")
    freeze: tuple[str, ...] = Field(
        (), description="patterns of the encoder's parameters (blocks.0.*) that are not trained"
    )
    norm: NormPolicy = Field("batch", description="what BatchNorm normalizes by; batch is transductive")
    vmap_chunk: Count = Field(1, ge=1, description="tasks in one call under vmap; 1 takes them one by one")


class InnerOptions(LearnerOptions):
    """Options of a learner that takes steps on each task."""

    inner_optimizer: InnerOptimizerName = Field("sgd", description="optimizer of the inner loop")
    inner_lr: Factor = Field(0.05, gt=0, description="learning rate of the inner loop")
    inner_steps: int = Field(3, ge=0, le=10**5, description="steps of the inner loop in training")
    test_steps: int | None = Field(
        None, ge=0, le=10**5, description="steps of the inner loop at test time; unset: as in training"
    )
    inner_clip: Factor = Field(0.0, ge=0, description="largest gradient norm in the inner loop; 0 is off")

    def loop(self, adjoint: Adjoint) -> InnerLoop:
        """The inner loop.

        Args:
            adjoint: how it is differentiated.
        """
        return InnerLoop(
            inner_optimizer(self.inner_optimizer, self.inner_lr, clip=self.inner_clip), self.inner_steps, adjoint
        )


class WithAdjoint(InnerOptions):
    """Options of a learner whose inner loop may be differentiated in any way."""

    adjoint: AdjointChoice = Field(
        default_factory=lambda: adjoint_options("unroll")(), description="how the inner loop is differentiated"
    )


class LearnerArguments(TypedDict, total=False):
    """Arguments of every learner on labeled tasks, see `LabeledLearner`."""

    criterion: Callable[[Tensor, Tensor], Tensor]
    norm: NormPolicy
    vmap_chunk: int
    calibration_weight: float


class InnerArguments(LearnerArguments, total=False):
    """Arguments of every learner that is a `MAML` and chooses itself what adapts."""

    test_steps: int | None


class AdaptArguments(InnerArguments, total=False):
    """Arguments of every learner that is a `MAML`."""

    adapt: str | list[str] | tuple[str, ...] | Predicate


@dataclass(frozen=True)
class Entry:
    """What is said of a learner that has a name.

    Args:
        summary: one line.
        source: paper.
        options: what it is built from.
    """

    summary: str
    source: str
    options: type[LearnerOptions] = LearnerOptions

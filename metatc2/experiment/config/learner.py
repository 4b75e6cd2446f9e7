"""``[learner]`` of an objective; those on labeled tasks bring their own options."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from metatc2.io.options import Names, Options
from metatc2.io.registries import AGGREGATORS


class PythonConfig(Options):
    """A learner, and all that it was trained on, that a program of the user's own made: see `metatc2.training.Trainer`."""

    section = "learner"

    name: Literal["python"] = Field(
        "python", description="ssl (an objective, calibrated or not), or a learner on labeled tasks"
    )
    method: str = Field("unnamed", description="what a program that trained with Trainer calls its method")
    settings: str | None = Field(None, description="of that learner, as its program made it")
    episodes: str | None = Field(None, description="the sampler that its program made, and its settings")
    adapts: tuple[str, ...] = Field(
        (),
        description="a learner on labeled tasks as settings by which it is made again; without them it is not measured",
    )
    optimizer: str | None = Field(None, description="function that made the optimizer, if trainer.optimizer did not")
    schedule: str | None = Field(None, description="function that made the schedule, if trainer.schedule did not")


class SelfSupervisedConfig(Options):
    """A self-supervised objective, calibrated or not."""

    section = "learner"

    name: Literal["ssl"] = Field(
        "ssl", description="ssl (an objective, calibrated or not), or a learner on labeled tasks"
    )
    aggregate: Annotated[str, Names(AGGREGATORS, also=("uncertainty",))] | None = Field(
        None,
        description="how gradients of tasks are combined, or uncertainty, which weighs their losses; unset: their mean",
    )

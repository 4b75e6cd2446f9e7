"""``[learner]`` of an objective; those on labeled tasks bring their own options."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from metatc2.io.options import Names, Options
from metatc2.io.registries import AGGREGATORS


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

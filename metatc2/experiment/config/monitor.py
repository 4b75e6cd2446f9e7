"""``[monitor]``: what is measured of the encoder while it is trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from metatc2.io.options import Count, Factor, Options


class NoMonitor(Options):
    """Nothing is measured."""

    section = "monitor"

    name: Literal["none"] = Field("none", description="coding-rate or none")


class CodingRateMonitor(Options):
    """Coding rate reduction of each stage, beside k-NN accuracy."""

    section = "monitor"

    name: Literal["coding-rate"] = Field("coding-rate", description="coding-rate or none")
    every: Count | None = Field(None, ge=1, description="steps between measurements; unset: an epoch")
    images: int = Field(512, ge=8, le=2**16, description="images measured, at most")
    split: str | None = Field(
        None, description="whose images; unset: those for validation where there are some, else those of pre-training"
    )
    eps2: Annotated[Factor, Field(gt=0)] = Field(0.5, description="ε² of the coding rate")
    neighbors: int = Field(5, ge=1, le=1000, description="k of the k-NN probe")
    stop_after: Count | None = Field(
        None, ge=1, description="end training after so many measurements without a rise of the last stage; unset: never"
    )

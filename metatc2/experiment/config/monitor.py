"""``[monitor]``: what is measured of the encoder while it is trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from metatc2.io.options import Count, Factor, Names, Options
from metatc2.io.registries import MEASURES


class NoMonitor(Options):
    """Nothing is measured."""

    section = "monitor"

    name: Literal["none"] = Field("none", description="coding-rate, online or none")


class CodingRateMonitor(Options):
    """Coding rate reduction of each stage, beside k-NN accuracy."""

    section = "monitor"

    name: Literal["coding-rate"] = Field("coding-rate", description="coding-rate, online or none")
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


class OnlineMonitor(Options):
    """Numbers of the encoder in the records of training: probes, and the rank of its features."""

    section = "monitor"

    name: Literal["online"] = Field("online", description="coding-rate, online or none")
    measures: tuple[Annotated[str, Names(MEASURES)], ...] = Field(
        ("knn", "linear", "rankme", "lidar"), min_length=1, description="what is measured"
    )
    source: str | None = Field(None, description="whose images; unset: what is learned from")
    split: str | None = Field(
        None, description="of that source; unset: one for validation where there is one, else all"
    )
    every: Count | None = Field(None, ge=1, description="steps between measurements; unset: an epoch")
    images: int = Field(512, ge=8, le=2**16, description="images measured, at most")
    neighbors: int = Field(5, ge=1, le=1000, description="k of the k-NN probe")

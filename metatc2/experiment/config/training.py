"""``[trainer]``: the outer loop."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from metatc2.io.options import Count, Factor, Names, Options, Share
from metatc2.io.registries import LOGGERS


class TrainerConfig(Options):
    """The outer loop."""

    section = "trainer"

    steps: Count = Field(600, ge=1, description="optimizer steps")
    optimizer: Literal["adamw", "sgd", "lars"] = Field("adamw", description="optimizer of the encoder")
    schedule: Literal["cosine", "constant"] | None = Field(
        None, description="of the learning rate after its rise; unset: a cosine to 0"
    )
    lr: Factor = Field(2e-3, gt=0, description="peak learning rate")
    weight_decay: Factor = Field(1e-4, ge=0, description="weight decay")
    warmup: Share = Field(0.05, description="share of the steps in which the learning rate rises")
    clip: Factor = Field(1.0, ge=0, description="largest gradient norm; 0 is off")
    precision: Literal["32-true", "bf16-mixed"] = Field("32-true", description="number format")
    accelerator: str = Field("auto", description="auto, cpu, gpu or any accelerator that Lightning Fabric knows")
    devices: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="devices on each node, which share the tasks; unset: one, or what the launcher started",
    )
    nodes: int | None = Field(
        None, ge=1, le=4096, description="machines that train together; unset: one, or what the launcher started"
    )
    accumulate: int | None = Field(
        None,
        ge=2,
        le=2**20,
        description="parts of a batch, one at a time with its activations in memory; unset: all at once",
    )
    ema: float | None = Field(
        None, gt=0, lt=1, description="decay of a moving average of the encoder, which then is kept; unset: none"
    )
    swa_from: Share | None = Field(
        None,
        description="share of the steps from which on the encoder is averaged equally, which then is kept; unset: none",
    )
    loggers: tuple[Annotated[str, Names(LOGGERS)], ...] | None = Field(
        None, description="what records go to besides metrics.jsonl, in DIR/logs; unset: nothing"
    )
    seed: int = Field(0, ge=0, lt=2**63, description="seed of every random number in the run")
    checkpoint_every: Count = Field(200, ge=1, description="steps between checkpoints")
    log_every: Count = Field(10, ge=1, description="steps between lines of metrics.jsonl")
    threads: int | None = Field(None, ge=1, le=1024, description="CPU threads; unset: torch's choice")
    lengthened: tuple[Annotated[Count, Field(ge=1)], ...] | None = Field(
        None, description="lengths that the run had before --resume DIR --steps N made it longer; written there"
    )

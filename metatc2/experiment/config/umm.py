"""``[umm]``: the stage on a finished run that `metatc2 umm` adds; a run that was only pre-trained has none."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from metatc2.io.options import Count, Factor, InnerOptimizerName, Options

#: How the outer gradient is taken.
Mode = Literal["exact", "finite-difference", "first-order", "alternate"]


class NoUMM(Options):
    """No such stage."""

    section = "umm"

    name: Literal["none"] = Field("none", description="umm in a run that `metatc2 umm` made, else none")


class UMMConfig(Options):
    """The late part tuned on a finished run (Qiang et al. 2024, arXiv 2410.00772)."""

    section = "umm"

    name: Literal["umm"] = Field("umm", description="umm in a run that `metatc2 umm` made, else none")
    start: str | None = Field(None, description="folder of the run whose encoder and heads it starts from")
    split: str = Field("layer2", description="last stage of the early part, which is frozen")
    mode: Mode = Field("exact", description="how the outer gradient is taken; alternate has no inner loop")
    beta: Factor = Field(1.0, ge=0, description="weight of the alignment term in the inner loop")
    gamma: Factor = Field(1.0, ge=0, description="weight of the coding rate reduction in the outer loop")
    eps2: Annotated[Factor, Field(gt=0)] = Field(0.1, description="ε² of the coding rate")
    steps: Count = Field(200, ge=1, description="outer steps, of two batches each")
    lr: Factor = Field(1e-4, gt=0, description="peak learning rate of the outer loop")
    inner_steps: int = Field(1, ge=1, le=1000, description="steps of the inner loop")
    inner_lr: Factor = Field(1e-3, gt=0, description="learning rate of the inner loop")
    inner_optimizer: InnerOptimizerName = Field("sgd", description="optimizer of the inner loop")

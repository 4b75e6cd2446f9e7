"""``[encoder]`` and ``[head]``: the network that is kept, and those that are dropped."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from metatc2.io.options import Names, Options
from metatc2.io.registries import ENCODERS, TOLD

WIDEST = 2**15  # of a layer: one layer between two such widths takes 4 GiB


class EncoderConfig(Options):
    """The network that is kept."""

    section = "encoder"

    name: Annotated[str, Names(ENCODERS, also=("torchvision:NAME",))] = Field(
        "conv4", description="the encoder; torchvision:NAME is for weights of other programs"
    )
    weights: str | None = Field(
        None,
        min_length=1,
        description="what pre-training starts from: a finished run, a folder or file of weights; unset: untrained",
    )
    width: int | None = Field(None, ge=1, le=8192, description="channels of the first stage; unset: the encoder's own")
    one_a_kind: bool = Field(
        False, description="an encoder for each kind of task, features concatenated: a control that is told"
    )


class HeadConfig(Options):
    """The projector and predictor, dropped after pre-training."""

    section = "head"

    projector_hidden: int = Field(256, ge=1, le=WIDEST, description="width of the projector's hidden layers")
    projector_out: int = Field(128, ge=1, le=WIDEST, description="width of the projected embedding")
    told: Annotated[str, Names(TOLD)] | None = Field(
        None, description="a projector that is told what each task is; unset: not told"
    )
    projector_layers: int = Field(2, ge=1, le=64, description="linear layers of the projector")
    predictor_hidden: int = Field(
        128, ge=1, le=WIDEST, description="width of the predictor's hidden layer (BYOL, SimSiam)"
    )

"""``[transfer]``: how the transfer of the frozen encoder is measured."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from metatc2.io.options import Count, Names, Options
from metatc2.io.registries import PROTOCOLS


class TransferConfig(Options):
    """How the transfer of the frozen encoder is measured."""

    section = "transfer"

    targets: tuple[str, ...] = Field(
        (), description="SOURCE or SOURCE:SPLIT; empty: the source's own meta-test classes"
    )
    way: tuple[Annotated[Count, Field(ge=2)], ...] = Field((5,), description="classes an episode")
    shot: tuple[Annotated[Count, Field(ge=1)], ...] = Field((1, 5), description="labeled images a class")
    query: Count = Field(15, ge=1, description="test images a class")
    episodes: Count = Field(600, ge=1, description="few-shot episodes a row")
    protocols: tuple[Annotated[str, Names(PROTOCOLS)], ...] = Field(("few-shot",), description="protocols to run")
    heads: tuple[str, ...] = Field(("cosine", "euclidean"), description="few-shot classifiers on the frozen features")
    fractions: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(
        (0.01, 0.1), description="shares of the labels, semi-supervised"
    )
    fine_tune_steps: Count = Field(5000, ge=1, description="steps of each fine-tuning (VTAB-1k: 1000)")
    allow_seen: bool = Field(False, description="allow targets with classes of the pre-training images")

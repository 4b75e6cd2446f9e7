"""``[condition]`` and ``[auxiliary]`` where there is none; those that are registered bring their own options."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from metatc2.io.options import Options


class NoCondition(Options):
    """Heads are not told how views were made."""

    section = "condition"

    name: Literal["none"] = Field("none", description="how the heads are told how each view was made (CASSLE), or none")


class NoAuxiliary(Options):
    """No loss of the descriptors of views."""

    section = "auxiliary"

    name: Literal["none"] = Field(
        "none", description="a loss by which the encoder shall tell how views were made, or none"
    )

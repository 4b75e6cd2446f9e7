"""``[regularizer]`` where there is none; those that are registered bring their own options."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from metatc2.io.options import Options


class NoRegularizer(Options):
    """Nothing is asked of the representation beside the objective."""

    section = "regularizer"

    name: Literal["none"] = Field("none", description="a regularizer of the representation, or none")

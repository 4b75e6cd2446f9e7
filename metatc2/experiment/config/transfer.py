"""``[transfer]``: how the transfer of the frozen encoder is measured; each protocol has a section of its own below it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from metatc2.io.options import Names, Options
from metatc2.io.registries import PROTOCOLS


class TransferConfig(Options):
    """What the transfer of the frozen encoder is measured on, and by which protocols.

    The options of a protocol are its section, ``[transfer.NAME]``: see `metatc2.transfer.protocols.options`.
    """

    section = "transfer"

    targets: tuple[str, ...] = Field(
        (), description="SOURCE or SOURCE:SPLIT; empty: the source's own meta-test classes"
    )
    protocols: tuple[Annotated[str, Names(PROTOCOLS)], ...] = Field(("few-shot",), description="protocols to run")
    allow_seen: bool = Field(False, description="allow targets with classes of the pre-training images")

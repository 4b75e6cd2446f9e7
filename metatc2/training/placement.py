"""Where a command computes, as it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Precision = Literal["32-true", "bf16-mixed"]


@dataclass(frozen=True)
class Placement:
    """Devices, machines and number format.

    Args:
        accelerator: as Lightning Fabric names them.
        devices: on each node, a process each.
        nodes: machines; the command is started on each.
        precision: of forward passes, as Lightning Fabric names them.
    """

    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1
    precision: Precision = "32-true"

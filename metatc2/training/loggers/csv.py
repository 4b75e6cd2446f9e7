"""Records as a table of comma-separated values, by Lightning Fabric."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from metatc2.training.loggers.registry import register_logger


@register_logger("csv")
def csv(folder: Path) -> Any:
    """``FOLDER/version_N/metrics.csv``, a version each time that training goes on."""
    from lightning_fabric.loggers.csv_logs import CSVLogger

    return CSVLogger(str(folder.parent), name=folder.name, flush_logs_every_n_steps=10)

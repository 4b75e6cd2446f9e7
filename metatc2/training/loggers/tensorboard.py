"""Records for TensorBoard, by Lightning Fabric."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from metatc2.errors import MissingPackage
from metatc2.training.loggers.registry import register_logger


@register_logger("tensorboard")
def tensorboard(folder: Path) -> Any:
    """``tensorboard --logdir FOLDER`` shows them.

    Raises:
        MissingPackage: if neither tensorboard nor tensorboardX is installed.
    """
    from lightning_fabric.loggers.tensorboard import TensorBoardLogger

    try:
        return TensorBoardLogger(str(folder.parent), name=folder.name)
    except ModuleNotFoundError as error:
        raise MissingPackage("logger 'tensorboard' needs tensorboard; pip install 'metatc2[loggers]'") from error

"""Records for Weights & Biases."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from metatc2.errors import MissingPackage
from metatc2.training.loggers.registry import register_logger


class WandbLogger:
    """A run of Weights & Biases, offline unless ``WANDB_MODE`` says otherwise; ``wandb sync`` sends it later.

    Args:
        folder: in which the package keeps its files.

    Raises:
        MissingPackage: if wandb is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            import wandb
        except ImportError as error:
            raise MissingPackage("logger 'wandb' needs wandb; pip install 'metatc2[loggers]'") from error
        self._init = wandb.init
        self.folder = folder
        self.run: Any = None

    def _begun(self) -> Any:
        if self.run is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            mode: Any = os.environ.get("WANDB_MODE", "offline")
            # The run folder, two above, names it.
            self.run = self._init(dir=str(self.folder), mode=mode, name=self.folder.absolute().parent.parent.name)
        return self.run

    def log_hyperparams(self, params: dict[str, Any]) -> None:
        """Settings of the training."""
        self._begun().config.update(params, allow_val_change=True)

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Values of a step."""
        self._begun().log(metrics, step=step)

    def finalize(self, status: str) -> None:
        """The run ends.

        Args:
            status: ``"success"`` or ``"failed"``.
        """
        if self.run is not None:
            self.run.finish(exit_code=0 if status == "success" else 1)
            self.run = None


@register_logger("wandb")
def wandb(folder: Path) -> WandbLogger:
    """See `WandbLogger`."""
    return WandbLogger(folder)

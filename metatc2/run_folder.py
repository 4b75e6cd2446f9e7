"""The configuration that a run folder keeps."""

from __future__ import annotations

from pathlib import Path

from metatc2.config import Config, read_config
from metatc2.errors import InputError


def read_run_config(path: Path) -> Config:
    """What a run was trained with.

    Raises:
        InputError: if the folder is not that of a run, or its configuration is damaged.
    """
    if not (path / "config.toml").exists():
        raise InputError(
            f"{path} is not a run folder (it has no config.toml); make one with: metatc2 pretrain TASK --run {path}"
        )
    return read_config(path / "config.toml")

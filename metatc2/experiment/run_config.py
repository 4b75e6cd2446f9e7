"""The configuration in a run folder: read, compared with another, and whence its relative paths start."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from metatc2.errors import InputError
from metatc2.experiment.config import Config, differences, fingerprint, read_config
from metatc2.io.source_names import split_name
from metatc2.training.run_folder import RunFolder


def read_run_config(path: Path) -> Config:
    """What a run was trained with.

    Raises:
        InputError: if the folder is not that of a run, or its configuration is damaged.
    """
    folder = RunFolder(path)
    folder.require_run()
    return read_config(folder.config)


def require_startable(folder: RunFolder, config: Config) -> None:
    """Refuse a folder in which a run of this configuration must not begin. Leaves no trace.

    Raises:
        InputError: unless nothing is there, or a run of the same configuration that has no checkpoint.
    """

    def differ(file: Path) -> list[str]:
        begun = read_config(file)
        return differences(begun, config) if fingerprint(begun) != fingerprint(config) else []

    folder.require_startable(differ)


@contextmanager
def sources_from(folder: RunFolder, config: Config) -> Iterator[None]:
    """Say where a relative path of the run's own data is looked for, if the block cannot find it.

    Raises:
        InputError: that of the block, with the reason.
    """
    try:
        yield
    except InputError as error:
        path = split_name(config.data.source)[1]
        relative = bool(path) and not path.startswith(("/", "~"))
        if not relative or os.path.exists(path):
            raise
        raise InputError(
            f"{error}; {folder.config} names the data {config.data.source} relative to the folder where the run was started, "
            f"and this command runs in {Path.cwd()}: run it where {path} lies"
        ) from error

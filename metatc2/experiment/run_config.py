"""The configuration in a run folder: read, compared with another, and whence its relative paths start."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from metatc2.errors import InputError
from metatc2.experiment.config import Config, differences, fingerprint, read_config
from metatc2.io.files import printable, write_atomically, writing
from metatc2.io.reading import read_json
from metatc2.io.source_names import split_name
from metatc2.io.writing import json_text
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


def note_origin(folder: RunFolder, config: Config) -> None:
    """Write down where the run is started, seen from its folder, if its data have a relative path; see `located`.

    Raises:
        InputError: if it cannot be written.
    """
    if _relative(config):
        try:
            here = os.path.relpath(Path.cwd(), folder.path)
        except ValueError:  # another drive of Windows
            here = str(Path.cwd())
        with writing(folder.origin):
            write_atomically(folder.origin, json_text({"working_directory": printable(here)}).encode())


def located(folder: RunFolder, config: Config) -> Config:
    """The configuration with its data where they lie: a relative path that leads nowhere from here starts where the run did.

    For loading the data alone; what is written stays as it was given. Folder and data may have moved together.

    Raises:
        InputError: if the file that says where the run was started is damaged.
    """
    path = _relative(config)
    if not path or os.path.exists(path) or not os.path.lexists(folder.origin):
        return config
    origin = read_json(folder.origin)
    here = origin.get("working_directory") if isinstance(origin, dict) else None
    if not isinstance(here, str) or "\0" in here:
        raise InputError(
            f"{folder.origin} does not say where the run was started; delete it, and resume where {path} lies"
        )
    place = os.path.normpath(folder.path.absolute() / here / path)
    if not os.path.exists(place):
        return config
    return replace(config, data=config.data.replace(source=f"{split_name(config.data.source)[0]}:{place}"))


def _relative(config: Config) -> str:
    path = split_name(config.data.source)[1]
    return "" if path.startswith("~") or os.path.isabs(path) else path


@contextmanager
def sources_from(folder: RunFolder, config: Config) -> Iterator[None]:
    """Say where a relative path of the run's own data is looked for, if the block cannot find it.

    Raises:
        InputError: that of the block, with the reason.
    """
    try:
        yield
    except InputError as error:
        path = _relative(config)
        if not path or os.path.exists(path):
            raise
        raise InputError(
            f"{error}; {folder.config} names the data {config.data.source} relative to the folder where the run was started, "
            f"and this command runs in {Path.cwd()}: run it where {path} lies"
        ) from error

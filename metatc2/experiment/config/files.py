"""Task files and the `config.toml` of a run: found, read, written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from metatc2.errors import InputError, nearest
from metatc2.experiment.config.config import Config
from metatc2.experiment.config.identity import flatten, kept_values
from metatc2.experiment.config.layers import layer_of, tree_of
from metatc2.experiment.config.overrides import merge
from metatc2.experiment.config.resolve import resolve
from metatc2.experiment.config.task_files import task_folder
from metatc2.io.files import write_atomically
from metatc2.io.options import show
from metatc2.io.reading import read_toml
from metatc2.io.source_names import path_kinds

# And the option of the command line that names each.
METHOD_KEYS = {
    "objective.name": "--objective",
    "calibration.name": "--calibration",
    "regularizer.name": "--regularize",
    "condition.name": "--condition",
    "learner.name": "--learner",
}


def read_task(name_or_path: str) -> Config:
    """A task by shipped name, by path, or bare ``folder:PATH`` / ``npz:PATH`` (the folder template on that source).

    Args:
        name_or_path: name, path of a ``.toml``, or source.

    Raises:
        InputError: unknown task, unreadable or malformed file, wrong key or value, or a method named in it.

    >>> read_task("glyphs").data.source, read_task("folder:photos").data.source
    ('glyphs', 'folder:photos')
    """
    kind, colon, path = name_or_path.partition(":")
    if colon and kind in path_kinds():
        if not path:
            raise InputError(f"task {name_or_path!r} has no path; write {name_or_path}PATH")
        source = {"data": {"source": name_or_path}, "description": f"Images of {show(name_or_path)}"}
        return merge(_read_task_file(task_folder() / "folder.toml"), source, f"task {name_or_path!r}")
    if name_or_path.endswith(".toml"):
        return _read_task_file(Path(name_or_path))
    shipped = {path.stem: path for path in task_folder().glob("*.toml")}
    if name_or_path in shipped:
        return _read_task_file(shipped[name_or_path])
    if name_or_path and Path(name_or_path).is_dir():
        raise InputError(
            f"task {name_or_path!r} is a folder; to learn from the images in it write folder:{name_or_path}"
        )
    others = "or give a path ending in .toml, folder:PATH or npz:PATH"
    raise InputError(f"unknown task {name_or_path!r}; {nearest(name_or_path, shipped)}; {others}")


def read_config(path: str | Path) -> Config:
    """A configuration as `write_config` wrote it; keys that are not in the file have their defaults.

    Raises:
        InputError: unreadable or malformed file, wrong key or value.
    """
    return resolve([layer_of(read_toml(Path(path)), str(path))])


def write_config(config: Config, path: str | Path) -> None:
    """Write a configuration so that `read_config` reads back an equal one; a reader never sees half a file.

    It holds every value that acts, defaults included, and given options of protocols that are not to be run, since a later
    command may name one. Unset keys are left out, since TOML has no word for them.
    Missing parent folders are made.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_config(Config(), Path(folder) / "config.toml")
    ...     read_config(Path(folder) / "config.toml") == Config()
    True
    """
    tree = tree_of({**flatten(config), **kept_values(config)})
    write_atomically(Path(path), tomli_w.dumps(tree).encode())


def _stands(key: str, tree: Mapping[str, Any]) -> bool:
    section, field = key.split(".")
    return isinstance(tree.get(section), Mapping) and field in tree[section]


def _read_task_file(path: Path) -> Config:
    tree = read_toml(path)
    named = {key: tree[key.split(".")[0]]["name"] for key in METHOD_KEYS if _stands(key, tree)}
    if named:
        stand, lines = ("stands", "line") if len(named) == 1 else ("stand", "lines")
        flags = " ".join(f"{METHOD_KEYS[key]} {value}" for key, value in named.items())
        raise InputError(
            f"{path}: {', '.join(named)} {stand} in a task file; a method is never named there, so that every method runs on "
            f"the same task: delete the {lines} and give {flags} on the command line"
        )
    return resolve([layer_of(tree, str(path))])

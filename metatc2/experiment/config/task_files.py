"""The shipped task files: where they are, and what they are called."""

from __future__ import annotations

from pathlib import Path

from metatc2.errors import InputError
from metatc2.io.reading import read_bytes, read_toml, text_of


def task_folder() -> Path:
    """The folder of the shipped task files: inside the installed package, or beside it in a checkout.

    Raises:
        InputError: if neither is there.
    """
    package = Path(__file__).resolve().parents[2]
    for folder in (package / "_tasks", package.parent / "tasks"):
        if (folder / "glyphs.toml").is_file():
            return folder
    raise InputError(f"no task files in {package / '_tasks'} or {package.parent / 'tasks'}; install metatc2 again")


def list_tasks() -> list[tuple[str, str]]:
    """Name and description of every shipped task, by name.

    >>> [name for name, description in list_tasks()]
    ['cifar10', 'digits', 'folder', 'glyphs', 'omniglot', 'shapes', 'stl10']
    """
    # Not as configurations: to look up what their objective takes would import torch.
    return [(path.stem, str(read_toml(path).get("description", ""))) for path in sorted(task_folder().glob("*.toml"))]


def read_shipped(name: str) -> str:
    """The text of a shipped task file.

    Raises:
        InputError: if it cannot be read.

    >>> "[data]" in read_shipped("glyphs")
    True
    """
    path = task_folder() / f"{name}.toml"
    return text_of(read_bytes(path), str(path))

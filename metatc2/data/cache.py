"""Small facts that took long to find, kept in the cache folder for the next run."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from numpy.typing import NDArray

from metatc2.io.files import read_file

Facts = dict[str, NDArray[Any]]

_VERSION = 3  # of what is kept; raise it when the meaning changes


def remember(key: str, facts: Mapping[str, Any]) -> None:
    """Keep arrays under a key, in ``$METATC2_CACHE`` or ``~/.cache/metatc2``, if that folder can be written to.

    Args:
        key: any text; the versions of Pillow and torch, which decode and resize, are added to it.
        facts: by name; of no Python objects.
    """
    content = io.BytesIO()
    np.savez(content, **dict(facts))
    aside: Path | None = None
    file = _file(key)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # A name of its own: processes that write at the same time must not write into one file.
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=".facts-", suffix=".tmp", delete=False) as opened:
            aside = Path(opened.name)
            opened.write(hashlib.sha256(content.getvalue()).digest() + content.getvalue())
        aside.replace(file)
    except OSError:
        if aside:
            aside.unlink(missing_ok=True)


def recall(key: str, names: tuple[str, ...]) -> Facts | None:
    """What was kept under a key; None where nothing is, or it is damaged."""
    try:
        raw = read_file(_file(key))
        if hashlib.sha256(raw[32:]).digest() != raw[:32]:
            return None
        with np.load(io.BytesIO(raw[32:]), allow_pickle=False) as content:
            return {name: content[name] for name in names}
    except Exception:  # whatever is wrong with it (NumPy and zipfile raise a dozen kinds), it is found again
        return None


def _file(key: str) -> Path:
    folder = Path(os.environ.get("METATC2_CACHE") or os.path.expanduser("~/.cache/metatc2"))
    versions = (_VERSION, PIL.__version__, torch.__version__)
    return folder / f"facts-{hashlib.sha256(f'{key} {versions}'.encode()).hexdigest()[:32]}.npz"

"""Facts that a checkpoint must agree with to be resumed."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from metatc2.errors import InputError
from metatc2.io.plain_text import visible
from metatc2.ops.ranks import Ranks

# Of the data, for people: their checksum decides.
SOURCE, IMAGES = "source", "images"


def agrees(saved: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether a checkpoint and a trainer are of one training; checkpoints of earlier versions say less of their data.

    >>> agrees({"data": "a"}, {"data": "a", SOURCE: "digits"}), agrees({"data": "a"}, {"data": "b"})
    (True, False)
    """
    return _binding(saved) == _binding(now)


def _binding(about: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in about.items() if key not in (SOURCE, IMAGES)}


def another_run(checkpoint: Path, saved: dict[str, Any], now: dict[str, Any]) -> str:
    """A sentence about what a checkpoint and a trainer do not agree in."""
    keys = [key for key in _binding({**saved, **now}) if saved.get(key) != now.get(key)]
    if keys == ["data"]:
        return (
            f"the data{_of(now)} changed since checkpoint {checkpoint} was written: {_how(saved, now)}; restore them, or "
            "begin a new run on what there is now"
        )
    listed = "; ".join(f"{key}: {saved.get(key)} in the checkpoint, {now.get(key)} now" for key in keys)
    return f"checkpoint {checkpoint} was written by another configuration ({listed}); resume with the config.toml it began with"


def _of(about: Mapping[str, Any]) -> str:
    return f" of {visible(str(about[SOURCE]))}" if SOURCE in about else ""


def _how(saved: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    old, new = saved.get(IMAGES), now.get(IMAGES)
    if old is not None and new is not None and old != new:
        return f"there were {old} images, and there are {new} (files added or removed, or not readable any more)"
    count = f"there are {new} images as there were, but " if old is not None and new is not None else ""
    return (
        f"{count}images, labels or splits are not those that the run was trained on (files edited, added or removed, or "
        "decoded by another version of Pillow)"
    )


def plain(about: dict[str, Any]) -> dict[str, Any]:
    """As it will be read from a checkpoint: JSON has no tuples, and texts alone for keys.

    Raises:
        InputError: if JSON cannot hold it.
    """
    try:
        plain: dict[str, Any] = json.loads(json.dumps(about))
    except (TypeError, ValueError) as error:
        raise InputError(f"Trainer: about must hold texts and numbers ({error})") from error
    return plain


def versions() -> dict[str, str]:
    """What the numbers of a training depend on besides its configuration, by name."""
    return {"python": platform.python_version(), **{name: version(name) for name in ("torch", "torchopt", "numpy")}}


def require_alike(ranks: Ranks, facts: Mapping[str, Any]) -> None:
    """Refuse to train together with processes that train something else, or with another library.

    Args:
        ranks: see `Ranks`.
        facts: by name, of this process.

    Raises:
        InputError: on every rank, naming the first fact that differs and both its values.
    """
    every = ranks.all(dict(facts))
    for rank, other in enumerate(every):
        for name in (*every[0], *other):
            if other.get(name) != every[0].get(name):
                raise InputError(
                    f"{name} is {every[0].get(name)!s:.80} on rank 0 and {other.get(name)!s:.80} on rank {rank}; start the "
                    "same command, with the same data and the same versions, on every machine"
                )

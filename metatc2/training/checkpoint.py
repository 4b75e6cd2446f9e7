"""Checkpoints without pickle: tensors in safetensors, the rest in JSON, written aside and renamed."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from metatc2.errors import InputError, kind_of
from metatc2.io.files import (
    printable,
    read_file,
    sync_folder,
    write_atomically,
    write_folder_atomically,
    write_synced,
    writing,
)
from metatc2.io.plain_text import visible
from metatc2.io.reading import parse_json

__all__ = ["latest_checkpoint", "load_checkpoint", "save_checkpoint", "write_atomically"]

_NAME = re.compile(r"step-(\d{8,18})")
_TENSORS, _FACTS = "state.safetensors", "state.json"


def save_checkpoint(folder: Path, step: int, state: dict[str, Any], about: dict[str, Any]) -> Path:
    """Write ``folder/step-XXXXXXXX`` and remove older ones; a cut at any moment leaves a whole checkpoint behind.

    Args:
        folder: usually ``DIR/checkpoint``.
        step: steps done.
        state: nested dictionaries and lists of tensors, numbers, strings, booleans and None.
        about: what must agree on resumption, e.g. the configuration's fingerprint; strings and numbers.

    Raises:
        InputError: if it cannot be written; earlier checkpoints are then as they were.
        TypeError: if the state holds anything else.
    """
    tensors: dict[str, Tensor] = {}
    structure = _pack(state, "", tensors)
    blob = save_tensors(tensors)
    about = json.loads(json.dumps(about))  # as it will be read: JSON has no tuples, and texts alone for keys
    facts = {"step": step, "about": about, "sha256": hashlib.sha256(blob).hexdigest(), "state": structure}
    facts["facts_sha256"] = _facts_sha256(facts)
    final = checkpoint_path(folder, step)

    def fill(aside: Path) -> None:
        write_synced(aside / _TENSORS, blob)
        write_synced(aside / _FACTS, json.dumps(facts).encode())

    with writing(final, "the run goes on from its last checkpoint once it can be"):
        # The same step of the same run: to replace it would leave a moment without any.
        if not _holds(final, facts):
            write_folder_atomically(final, fill)
        others = [other for other in _checkpoints(folder) if other != final]
        for other in others:
            shutil.rmtree(other, ignore_errors=True)
        if others:
            sync_folder(folder)
    return final


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint in a folder, None if there is none; other names, such as ``step-backup``, are none."""
    return max(_checkpoints(folder), key=step_of, default=None)


def checkpoint_path(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return folder / f"step-{step:08d}"


def step_of(checkpoint: Path) -> int:
    """Steps that a checkpoint's name says were done.

    >>> step_of(Path("checkpoint/step-00000012"))
    12
    """
    return int(checkpoint.name.partition("-")[2])


def load_checkpoint(path: Path) -> tuple[int, dict[str, Any], dict[str, Any]]:
    """Steps done, state and `about` of a checkpoint, each checked against its checksum.

    Checkpoints of versions that kept no checksum of ``state.json`` are read too; their step must be that of the folder's
    name.

    Raises:
        InputError: if a file is missing, truncated, changed, or not of this form.
    """
    fix = "delete it and start the run again, or restore it from a copy"
    try:
        facts = parse_json(read_file(path / _FACTS), _FACTS, finite=False)
        blob = read_file(path / _TENSORS)
        step, about, structure = _checked(facts, path)
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise InputError(f"checkpoint {path} cannot be read ({_words(error)}); {fix}") from error
    if hashlib.sha256(blob).hexdigest() != facts.get("sha256"):
        raise InputError(f"checkpoint {path} is damaged: {_TENSORS} is not what was written; {fix}")
    try:
        state = _unpack(structure, load_tensors(blob))
        if not isinstance(state, dict):
            raise TypeError(f"the state is {kind_of(state)}")
    except (SafetensorError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise InputError(f"checkpoint {path} is damaged ({_words(error)}); {fix}") from error
    return step, state, about


def _checked(facts: Any, path: Path) -> tuple[int, dict[str, Any], Any]:
    step, about, structure = facts["step"], facts["about"], facts["state"]
    if "facts_sha256" in facts and facts["facts_sha256"] != _facts_sha256(facts):
        raise ValueError(f"{_FACTS} is not what was written")
    if type(step) is not int or not isinstance(about, dict):
        raise TypeError("step must be a whole number and about a table")
    if _NAME.fullmatch(path.name) and step != step_of(path):
        raise ValueError(f"{_FACTS} says step {step}")
    return step, about, structure


def _facts_sha256(facts: Mapping[str, Any]) -> str:
    """Over all facts but itself, however they are spaced."""
    covered = {key: value for key, value in facts.items() if key != "facts_sha256"}
    return hashlib.sha256(json.dumps(covered, sort_keys=True).encode()).hexdigest()


def _checkpoints(folder: Path) -> list[Path]:
    return [path for path in folder.glob("step-*") if _NAME.fullmatch(path.name) and path.is_dir()]


def _holds(final: Path, facts: Mapping[str, Any]) -> bool:
    """Whether a checkpoint is there already, whole, and with these tensors."""
    if not final.exists():
        return False
    try:
        saved = parse_json(read_file(final / _FACTS), _FACTS, finite=False)
        load_checkpoint(final)
        return bool(saved["sha256"] == facts["sha256"] and saved["about"] == facts["about"])
    except (InputError, OSError, ValueError, KeyError, TypeError):
        return False


def _words(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else visible(str(error))[:300]


def _pack(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """Structure of a nested state as JSON; tensors go into `tensors` under their path."""
    if isinstance(value, Tensor):
        name = printable(path)
        while name in tensors:  # {"a/b": x} and {"a": {"b": y}} have one path
            name += "'"
        # safetensors refuses tensors that share memory.
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {"tensor": name}
    if isinstance(value, dict):
        if odd := [key for key in value if not (key is None or isinstance(key, bool | int | float | str))]:
            raise TypeError(f"checkpoint: {path} has the key {odd[0]!r}; keys are texts, numbers and None")
        # Pairs, since optimizers have integer keys and JSON has none.
        return {"dict": [[key, _pack(item, f"{path}/{key}", tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return {"list": [_pack(item, f"{path}/{i}", tensors) for i, item in enumerate(value)]}
    if value is None or isinstance(value, bool | int | float | str):
        return {"value": value}
    raise TypeError(f"checkpoint: {path} is {kind_of(value)}; states hold tensors, numbers, strings and None")


def _unpack(structure: dict[str, Any], tensors: dict[str, Tensor]) -> Any:
    ((kind, content),) = structure.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: _unpack(item, tensors) for key, item in content}
    if kind == "list":
        return [_unpack(item, tensors) for item in content]
    if kind != "value" or isinstance(content, dict | list):
        raise TypeError(f"a value of kind {str(kind)[:50]!r}")
    return content

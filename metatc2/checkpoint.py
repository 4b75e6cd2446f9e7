"""Checkpoints without pickle: tensors in safetensors, the rest in JSON, written aside and renamed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from metatc2.errors import InputError

_PREFIX = "step-"


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        aside.write_bytes(content)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def tensors_sha256(tensors: dict[str, Tensor]) -> str:
    """Checksum of named tensors that does not depend on how they are stored.

    >>> import torch
    >>> len(tensors_sha256({"w": torch.zeros(2)}))
    64
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def save_checkpoint(folder: Path, step: int, state: dict[str, Any], about: dict[str, Any]) -> Path:
    """Write ``folder/step-XXXXXXXX`` and remove older ones; a cut at any moment leaves a whole checkpoint behind.

    Args:
        folder: usually ``DIR/checkpoint``.
        step: steps done.
        state: nested dictionaries and lists of tensors, numbers, strings, booleans and None.
        about: what must agree on resumption, e.g. the configuration's fingerprint; strings and numbers.
    """
    tensors: dict[str, Tensor] = {}
    skeleton = _pack(state, "", tensors)
    blob = save_tensors(tensors)
    facts = {"step": step, "about": about, "sha256": hashlib.sha256(blob).hexdigest(), "state": skeleton}
    final = folder / f"{_PREFIX}{step:08d}"
    aside = folder / f".{final.name}.{os.getpid()}.tmp"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    (aside / "state.safetensors").write_bytes(blob)
    (aside / "state.json").write_text(json.dumps(facts))
    shutil.rmtree(final, ignore_errors=True)
    aside.rename(final)
    for other in folder.glob(f"{_PREFIX}*"):
        if other != final:
            shutil.rmtree(other, ignore_errors=True)
    return final


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint in a folder, None if there is none."""
    return max(folder.glob(f"{_PREFIX}*"), default=None)


def load_checkpoint(path: Path) -> tuple[int, dict[str, Any], dict[str, Any]]:
    """Steps done, state and `about` of a checkpoint, checked against its checksum.

    Raises:
        InputError: if a file is missing, truncated or changed.
    """
    fix = "delete it and start the run again, or restore it from a copy"
    try:
        facts = json.loads((path / "state.json").read_text())
        blob = (path / "state.safetensors").read_bytes()
        step, about, skeleton = int(facts["step"]), dict(facts["about"]), facts["state"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"checkpoint {path} cannot be read ({error}); {fix}") from error
    if hashlib.sha256(blob).hexdigest() != facts.get("sha256"):
        raise InputError(f"checkpoint {path} is damaged: state.safetensors is not what was written; {fix}")
    try:
        return step, _unpack(skeleton, load_tensors(blob)), about
    except (SafetensorError, KeyError, TypeError) as error:
        raise InputError(f"checkpoint {path} is damaged ({error}); {fix}") from error


def _pack(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """JSON skeleton of a nested state; tensors go into `tensors` under their path."""
    if isinstance(value, Tensor):
        # safetensors refuses tensors that share memory.
        tensors[path] = value.detach().cpu().contiguous().clone()
        return {"tensor": path}
    if isinstance(value, dict):
        # Pairs, since optimisers have integer keys and JSON has none.
        return {"dict": [[key, _pack(item, f"{path}/{key}", tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return {"list": [_pack(item, f"{path}/{i}", tensors) for i, item in enumerate(value)]}
    if value is None or isinstance(value, bool | int | float | str):
        return {"value": value}
    raise TypeError(f"checkpoint: {path} is a {type(value).__name__}; states hold tensors, numbers, strings and None")


def _unpack(skeleton: dict[str, Any], tensors: dict[str, Tensor]) -> Any:
    ((kind, content),) = skeleton.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: _unpack(item, tensors) for key, item in content}
    if kind == "list":
        return [_unpack(item, tensors) for item in content]
    return content

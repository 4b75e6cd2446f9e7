"""Tables of tensors from a file of torch or safetensors, of which no code is run."""

from __future__ import annotations

import argparse
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from metatc2.errors import InputError, cause_of, kind_of
from metatc2.io.files import check_regular
from metatc2.io.pickled import beginning, is_torchscript, is_whole_pickle
from metatc2.io.safetensors_file import read_safetensors

TORCH_FILES = (".pth", ".pt", ".ckpt", ".bin", ".tar")


def read_weights(file: Path) -> Mapping[str, Any]:
    """Tables of tensors from safetensors, or from a file of ``torch.save`` (`TORCH_FILES`).

    Raises:
        InputError: if there is no such file, its ending is another, or it is damaged.
    """
    if file.suffix in TORCH_FILES:
        return read_torch_file(file)
    if file.suffix != ".safetensors":
        endings = ", ".join((".safetensors", *TORCH_FILES))
        raise InputError(f"{file}: weights end in {endings}; name such a file, or rename it")
    check_regular(file)
    if not file.is_file():
        raise InputError(f"{file}: no such file; name a file of weights")
    try:
        return read_safetensors(file)[0]
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        raise InputError(f"{file} is damaged ({cause_of(error)}); get it again") from error


def read_torch_file(file: Path) -> Mapping[str, Any]:
    """What ``torch.save`` wrote, if it is tensors, numbers and texts; no code of the file is run.

    Raises:
        InputError: if it cannot be read, or holds objects that would take code.
    """
    check_regular(file)
    if not file.is_file():
        raise InputError(f"{file}: no such file; name a file of weights")
    try:
        # Many training scripts keep their arguments beside the weights.
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, on the version of a pickle
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zipfile and torch raise a dozen kinds on damaged files
        raise InputError(_refusal(file, error)) from error
    if isinstance(content, Tensor) or not isinstance(content, Mapping):
        raise InputError(f"{file} holds {kind_of(content)} and no table of tensors; save a state_dict() instead")
    return content


def _refusal(file: Path, error: Exception) -> str:
    """Why torch could not read a file: told from its bytes, since torch says of many damaged ones that they hold objects."""
    if is_torchscript(file):
        return (
            f"{file} is an archive of TorchScript, whose network is code, and no table of tensors; only if you trust whoever "
            "made the file, since this loads its code, save its tensors alone: "
            "torch.save(torch.jit.load(FILE).state_dict(), NEW)"
        )
    if isinstance(error, pickle.UnpicklingError) and is_whole_pickle(file):
        return (
            f"{file} holds Python objects, which only running code from the file could restore; that is not done. Get its "
            "state_dict, best as safetensors; only if you trust whoever made the file, since this runs any code in it, save "
            "its tensors alone: whole = torch.load(FILE, weights_only=False), then torch.save(whole.state_dict(), NEW) of a "
            "module, or torch.save(whole['state_dict'], NEW) of a dictionary that has them"
        )
    message = (str(error).splitlines() or [""])[0][:200] if isinstance(error, RuntimeError | OSError) else ""
    reason = beginning(file) or message or "what is in it does not fit together"
    return f"{file} is damaged or was not written by torch.save ({reason}); get it again"

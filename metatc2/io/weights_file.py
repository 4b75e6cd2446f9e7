"""Modules as files of weights in safetensors: their tensors, and facts in the header, under one checksum."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from metatc2.errors import InputError, kind_of
from metatc2.io.files import printable
from metatc2.io.plain_text import visible
from metatc2.io.safetensors_file import tensors_sha256


def encode_module(module: nn.Module, facts: Mapping[str, Any]) -> bytes:
    """A module's tensors and facts as a file of weights.

    Args:
        module: its tensors may share memory; each is written whole.
        facts: numbers, texts, and lists and tables of them, which become JSON.

    Raises:
        InputError: if the module's state holds something else than tensors, or a kind of tensor that safetensors has not.
    """
    state = module.state_dict()
    if odd := [name for name, value in state.items() if not isinstance(value, Tensor)]:
        raise InputError(
            f"{type(module).__name__}: its state {odd[0]!r} is {kind_of(state[odd[0]])} and no tensor; files of "
            "weights hold tensors alone"
        )
    return encode_tensors(state, facts, type(module).__name__)


def encode_tensors(state: Mapping[str, Tensor], facts: Mapping[str, Any], what: str) -> bytes:
    """Tensors and facts as a file of weights.

    Args:
        state: by name; each tensor is written whole.
        facts: see `encode_module`.
        what: they are of, for the error.

    Raises:
        InputError: if safetensors has not their kind.
    """
    tensors = own_tensors(state)
    header = {key: _text(value) for key, value in facts.items()}
    header["sha256"] = checksum(header, tensors)
    try:
        return save_tensors(tensors, header)
    except (SafetensorError, KeyError, ValueError, RuntimeError, NotImplementedError) as error:
        raise InputError(f"{what} cannot be written as safetensors ({visible(str(error))[:300]})") from error


def module_tensors(module: nn.Module) -> dict[str, Tensor]:
    """The tensors of a module's state, each with memory of its own."""
    return own_tensors(module.state_dict())


def own_tensors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, each with memory of its own."""
    return {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}


def checksum(facts: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    """Of the tensors of a file and the facts in its header, but for a fact ``sha256``."""
    covered = {key: value for key, value in facts.items() if key != "sha256"}
    words = f"{json.dumps(covered, sort_keys=True)} {tensors_sha256(dict(tensors))}"
    return hashlib.sha256(words.encode()).hexdigest()


def _text(value: Any) -> str:
    return printable(value) if isinstance(value, str) else json.dumps(value)

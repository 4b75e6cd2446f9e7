"""Reading safetensors with what their header says, from any path: the library's own reader takes UTF-8 paths alone."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import load
from torch import Tensor

from metatc2.files import read_file


def read_safetensors(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors by name, and the facts in the header.

    Raises:
        OSError: if it cannot be read.
        InputError: if it is a device or a pipe.
        SafetensorError: if it is damaged.
    """
    blob = read_file(file)
    tensors = load(blob)  # checks the header
    length = int.from_bytes(blob[:8], "little")
    return tensors, dict(json.loads(blob[8 : 8 + length]).get("__metadata__", {}))

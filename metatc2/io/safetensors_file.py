"""Reading safetensors with what their header says, from any path: the library's own reader takes UTF-8 paths alone."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from metatc2.io.files import check_regular, read_file

_MOST_HEADER = 100_000_000  # bytes, of the format


def read_safetensors(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors by name, and the facts in the header.

    Raises:
        OSError: if it cannot be read.
        InputError: if it is a device or a pipe.
        SafetensorError: if it is damaged.
    """
    check_regular(file)
    with file.open("rb") as opened:
        length, size = int.from_bytes(opened.read(8), "little"), os.fstat(opened.fileno()).st_size
    # Asked before all of it is read: a file with holes may need more memory than there is.
    if not 2 <= length <= min(_MOST_HEADER, size - 8):
        raise SafetensorError(f"its header would have {length} bytes")
    blob = read_file(file)
    tensors = load(blob)  # checks the header
    return tensors, dict(json.loads(blob[8 : 8 + length]).get("__metadata__", {}))


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

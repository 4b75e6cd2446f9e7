"""Files that torch cannot read: damaged ones are called damaged, and Python objects come with a warning."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from metatc2.errors import InputError
from metatc2.models.foreign_weights import read_torch_file


class Own:
    """An object that only its class can restore."""


def saved(content: Any, *, archive: bool = True) -> bytes:
    written = io.BytesIO()
    torch.save(content, written, _use_new_zipfile_serialization=archive)
    return written.getvalue()


def zipped(**files: bytes) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for name, content in files.items():
            archive.writestr(f"a/{name.replace('_', '.')}", content)
    return written.getvalue()


def overwritten(content: bytes) -> bytes:
    return content[:60] + b"\x07" * 140 + content[200:]


NOISE = bytes(range(37, 256))
DAMAGED: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "noise": lambda: NOISE,
    "text": lambda: b"hello world\n",
    "a web page": lambda: b"<!DOCTYPE html><html>not found</html>",
    "a pointer": lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 123\n",
    "noise after a pickle's mark": lambda: b"\x80" + NOISE,
    "noise after a pickle's mark and version": lambda: b"\x80\x02" + NOISE,
    "noise after an archive's mark": lambda: b"PK\x03\x04" + NOISE,
    "a cut archive": lambda: saved({"a": torch.ones(3)})[:-300],
    "a cut archive of objects": lambda: saved(nn.Linear(2, 2))[:-300],
    "an overwritten archive": lambda: overwritten(saved(nn.Linear(2, 2))),
    "an archive of noise": lambda: zipped(data_pkl=NOISE, version=b"3"),
    "an archive of something else": lambda: zipped(notes_txt=b"hello"),
    "a cut file of the older format": lambda: saved({"a": torch.ones(3)}, archive=False)[:100],
    "a cut pickle": lambda: pickle.dumps({"a": [1] * 100, "b": Own})[:-20],
}
OBJECTS: dict[str, Callable[[], bytes]] = {
    "a module": lambda: saved({"a": torch.ones(3), "m": nn.Linear(2, 2)}),
    "a module in the older format": lambda: saved(nn.Linear(2, 2), archive=False),
    "a pickle": lambda: pickle.dumps({"a": Own()}),
    "an older pickle": lambda: pickle.dumps({"a": Own()}, protocol=2),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_file_is_called_damaged(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(DAMAGED[kind]())
    with pytest.raises(InputError, match="is damaged or was not written by torch.save") as caught:
        read_torch_file(file)
    assert "weights_only" not in str(caught.value)
    assert len(str(caught.value)) < 420
    if "a web page" in kind or "a pointer" in kind:
        assert f"it is {kind}" in str(caught.value)


@pytest.mark.parametrize("kind", OBJECTS)
def test_python_objects_come_with_a_warning(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(OBJECTS[kind]())
    with pytest.raises(InputError, match="holds Python objects.*only if you trust.*runs any code in it.*weights_only"):
        read_torch_file(file)


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning", "ignore:.torch.jit:DeprecationWarning")
def test_an_archive_of_torchscript_is_not_called_damaged(tmp_path: Path) -> None:
    file = tmp_path / "weights.pt"
    torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)), file)
    with pytest.raises(
        InputError, match=r"archive of TorchScript.*only if you trust.*torch.jit.load.*state_dict"
    ) as caught:
        read_torch_file(file)
    assert "damaged" not in str(caught.value)

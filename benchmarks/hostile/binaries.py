"""Files of bytes: arrays of NumPy, tensors, files of ``torch.save``, pictures."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save as save_tensors

from hostile.changes import changed
from hostile.kind import Kind, Prepared
from metatc2.data import load
from metatc2.data.gather import gather
from metatc2.data.readers import ImageFiles
from metatc2.errors import InputError
from metatc2.experiment.weights import read_tensors
from metatc2.experiment.weights_header import Header
from metatc2.io.weights_file import encode_module
from metatc2.models.foreign_weights import read_torch_file

_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "ICO", "TGA", "SGI", "PCX", "DDS", "JPEG2000")


class RunsCode:
    """What a hostile pickle is made of: to read it by pickle would run a command."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch /tmp/pickle-was-run",)


def _archive(content: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return made.getvalue()


def _npz(folder: Path) -> Prepared:
    file = folder / "a.npz"
    images = np.arange(6 * 4 * 4, dtype=np.uint8).reshape(6, 4, 4)
    plain, packed, objects = io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.savez(plain, images=images, labels=np.arange(6) % 2, split=np.array(["train", "test"] * 3))
    np.savez_compressed(packed, images=images, labels=np.arange(6) % 2, class_names=np.array(["a", "b"]))
    np.savez(objects, images=np.array([RunsCode()], dtype=object), allow_pickle=True)
    single = io.BytesIO()
    np.save(single, images)
    outside = _archive({"../images.npy": single.getvalue(), "/tmp/images.npy": single.getvalue(), "images.npy": b""})
    valid = [made.getvalue() for made in (plain, packed, objects, single)]

    def read(content: bytes) -> object:
        file.write_bytes(content)
        return load(f"npz:{file}", image_size=4)

    return changed([*valid, outside]), read


def _safetensors(folder: Path) -> Prepared:
    file = folder / "a.safetensors"
    facts = {"format": "1", "channels": 1, "image_size": 8, "steps": 3, "seconds": 0.5, "class_names": ["a", "b"]}
    valid = [encode_module(torch.nn.Linear(2, 2), facts), save_tensors({"a": torch.arange(3), "b": torch.zeros(2, 0)})]

    def read(content: bytes) -> object:
        file.write_bytes(content)
        tensors, about = read_tensors(file)
        return Header.of(about, tensors, file)

    return changed(valid), read


def _torch_file(folder: Path) -> Prepared:
    file = folder / "a.pth"
    contents: list[bytes] = []
    for value in ({"state_dict": {"w": torch.arange(4.0)}, "epoch": 3}, {"w": RunsCode()}):
        for new in (True, False):
            made = io.BytesIO()
            torch.save(value, made, _use_new_zipfile_serialization=new)
            contents.append(made.getvalue())
    contents.append(pickle.dumps(RunsCode()))

    def read(content: bytes) -> object:
        file.write_bytes(content)
        return read_torch_file(file)

    return changed(contents), read


def _pictures(size: int) -> list[bytes]:
    colors = np.arange(size * size * 3, dtype=np.uint8).reshape(size, size, 3)
    made = []
    for form in _FORMATS:
        content = io.BytesIO()
        try:
            Image.fromarray(colors).save(content, form)
        except (OSError, KeyError, ValueError):  # a Pillow without this format
            continue
        made.append(content.getvalue())
    deep, palette = io.BytesIO(), io.BytesIO()
    Image.fromarray(np.arange(size * size, dtype=np.uint16).reshape(size, size)).save(deep, "PNG")
    Image.fromarray(colors).convert("P").save(palette, "PNG", transparency=0)
    return [*made, deep.getvalue(), palette.getvalue()]


def _image(folder: Path) -> Prepared:
    file = folder / "a.png"

    def read(content: bytes) -> object:
        file.write_bytes(content)
        result = gather(ImageFiles([str(file)], [0], 8), "an image", skip=True)
        if result.reasons:
            raise InputError(result.reasons[0])
        return result

    return changed(_pictures(10)), read


def _image_folder(folder: Path) -> Prepared:
    valid = _pictures(6)
    for name in ("a", "b"):
        (folder / name).mkdir()
        (folder / name / "x.png").write_bytes(valid[0])

    def read(content: bytes) -> object:
        (folder / "b" / "y.png").write_bytes(content)
        return load(f"folder:{folder}", image_size=8)

    return changed(valid), read


KINDS = (
    Kind("npz", "npz:PATH, loaded", 250, _npz),
    Kind("safetensors", "a file of weights and its header", 700, _safetensors),
    Kind("torch file", "a file of torch.save, hostile pickles among them", 120, _torch_file),
    Kind("image", "a picture in one of Pillow's formats", 250, _image),
    Kind("image folder", "folder:PATH with such a picture", 20, _image_folder),
)

"""`npz:PATH`: images and labels in a NumPy archive."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch

from metatc2.data.resize import resize_square
from metatc2.data.store import ImageStore, meta_splits
from metatc2.errors import InputError


def load_npz(path: str | Path, image_size: int | None = None) -> ImageStore:
    """An archive with ``images`` and, where known, ``labels``, ``domains``, ``class_names``, ``domain_names``, ``split``.

    Args:
        path: the file. ``images`` is uint8 ``(N, H, W)``, ``(N, H, W, C)`` or ``(N, C, H, W)``; ``labels`` and ``domains`` are
            whole numbers ``(N,)``; ``split`` is a word an image.
        image_size: side in pixels; by default the shorter side of the images.

    Raises:
        InputError: if the file cannot be read or an array is missing or has another form.
    """
    name = f"npz:{path}"
    try:
        with np.load(Path(path).expanduser(), allow_pickle=False) as content:
            arrays = {key: content[key] for key in content.files}
    except FileNotFoundError as error:
        raise InputError(f"{name}: no such file; write one with numpy.savez(PATH, images=..., labels=...)") from error
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(
            f"{name}: not a readable NumPy archive ({error}); write it again with numpy.savez, without Python objects"
        ) from error
    if "images" not in arrays:
        raise InputError(f"{name}: no array 'images'; it holds {', '.join(sorted(arrays)) or 'nothing'}")
    images = arrays["images"]
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or len(images) == 0:
        raise InputError(
            f"{name}: 'images' must be uint8 of shape (N, H, W), (N, H, W, C) or (N, C, H, W) with N at least 1, got "
            f"{images.dtype} {images.shape}"
        )
    if images.ndim == 3:
        images = images[:, None]
    elif images.shape[1] not in (1, 3) and images.shape[3] in (1, 3):
        images = images.transpose(0, 3, 1, 2)
    if images.shape[1] not in (1, 3):
        raise InputError(f"{name}: 'images' must have 1 or 3 channels, got shape {arrays['images'].shape}")
    tensor = torch.from_numpy(np.ascontiguousarray(images))
    count = len(tensor)
    labels = _whole(name, arrays, "labels", count)
    class_names = _words(name, arrays, "class_names")
    classes = max(int(labels.max()) + 1, len(class_names))
    splits = meta_splits(labels, classes) if "labels" in arrays else {"meta-train": torch.arange(count)}
    if "split" in arrays:
        words = arrays["split"].astype(str)
        if words.shape != (count,):
            raise InputError(f"{name}: 'split' must be one word an image, shape ({count},), got {words.shape}")
        splits |= {str(word): torch.from_numpy((words == word).nonzero()[0]) for word in np.unique(words)}
    return ImageStore(
        name,
        resize_square(tensor, image_size or min(tensor.shape[-2:])),
        labels,
        _whole(name, arrays, "domains", count),
        class_names=class_names,
        domain_names=_words(name, arrays, "domain_names"),
        splits=splits,
    )


def _whole(name: str, arrays: dict[str, np.ndarray], key: str, count: int) -> torch.Tensor:
    values = arrays.get(key, np.zeros(count, dtype=np.int64))
    if values.shape != (count,) or values.dtype.kind not in "iu" or values.min() < 0:
        raise InputError(
            f"{name}: '{key}' must be whole numbers from 0 on, one an image, shape ({count},), got {values.dtype} "
            f"{values.shape}"
        )
    return torch.from_numpy(values.astype(np.int64))


def _words(name: str, arrays: dict[str, np.ndarray], key: str) -> tuple[str, ...]:
    words = arrays.get(key, np.empty(0, dtype=str))
    if words.ndim != 1:
        raise InputError(f"{name}: '{key}' must be a list of names, got shape {words.shape}")
    return tuple(str(word) for word in words)

"""`features:PATH`: features that another program computed, and their labels, in a NumPy archive."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metatc2.data.registry import register_source
from metatc2.data.sources.npz import named_rows, numbers, read_arrays
from metatc2.data.store import NO_LABELS, ImageStore, beside_parts, meta_splits
from metatc2.errors import InputError
from metatc2.io.suggest import command

KIND = "features"
#: Side of what stands for an image: its number, in four bytes.
SIDE = 2


@register_source("features:PATH")
def load_features(path: str | Path, image_size: int | None = None, name: str | None = None) -> ImageStore:
    """An archive with ``features`` and, where known, ``labels``, ``class_names``, ``domains``, ``domain_names``, ``split``.

    There are no images: in their place stands the number of each row, from which `metatc2.models.feature_rows.FeatureRows` gets
    the features. Two archives with the same labels are so one target, on which they can be compared.

    Args:
        path: the file. ``features`` are floating point ``(N, D)``; all others are as in ``npz:PATH``.
        image_size: refused if it is one of images.
        name: of the store; by default ``features:PATH``.

    Raises:
        InputError: if the file cannot be read, an array is missing or has another form, or images are asked for.
    """
    name = name or f"{KIND}:{path}"
    if image_size not in (None, SIDE):
        raise InputError(
            f"{name}: holds features and no images, so no encoder can be measured on it; the features themselves are, by: "
            f"{command('transfer', name, '--out', 'DIR')}"
        )
    arrays = read_arrays(name, Path(path).expanduser(), KIND)
    count = len(_checked(name, arrays[KIND]))
    labels, class_names = numbers(name, arrays, "labels", "class_names", count)
    domains, domain_names = numbers(name, arrays, "domains", "domain_names", count)
    own = named_rows(name, arrays, count)
    present, dense = torch.unique(labels, return_inverse=True)
    meta = {} if any(word.startswith("meta-") for word in own) else meta_splits(dense, len(present))
    notes = {}
    if "labels" not in arrays:
        notes[NO_LABELS] = (
            "the archive has no array 'labels': write it again with numpy.savez(PATH, features=..., labels=...), one whole "
            "number or word a row"
        )
    return ImageStore(
        name,
        row_numbers(count),
        labels,
        domains,
        class_names=class_names,
        domain_names=domain_names,
        notes=notes,
        splits=beside_parts(meta, own),
    )


def read_features(path: str | Path) -> Tensor:
    """The features alone, float32 ``(N, D)``.

    Raises:
        InputError: see `load_features`.
    """
    name = f"{KIND}:{path}"
    return torch.from_numpy(_checked(name, read_arrays(name, Path(path).expanduser(), KIND)[KIND]).astype(np.float32))


def row_numbers(count: int) -> Tensor:
    """What stands for images: uint8 ``(count, 1, 2, 2)``, the number of each row, the lowest byte first.

    >>> row_numbers(300)[299].flatten().tolist()
    [43, 1, 0, 0]
    """
    raw = np.arange(count, dtype="<u4").view(np.uint8).reshape(count, 1, SIDE, SIDE)
    return torch.from_numpy(raw.copy())


def _checked(name: str, features: NDArray[Any]) -> NDArray[Any]:
    if features.dtype.kind != "f" or features.ndim != 2 or 0 in features.shape:
        raise InputError(
            f"{name}: 'features' must be floating point (N, D), neither of them 0, got {features.dtype} {features.shape}; "
            "flatten all axes but the first"
        )
    bad = ~np.isfinite(features).all(1)
    if bad.any():
        raise InputError(
            f"{name}: {int(bad.sum())} of {len(features)} rows are NaN or infinite (first {int(bad.nonzero()[0][0])}); leave "
            "them out, or compute them again in single precision"
        )
    return features

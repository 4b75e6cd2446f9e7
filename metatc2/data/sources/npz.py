"""`npz:PATH`: images and labels in a NumPy archive."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metatc2.data.crops import about_crops, crops_noted
from metatc2.data.decoding import ValueRange
from metatc2.data.from_anywhere import pixels_of
from metatc2.data.image_io import resize_square, share_cut
from metatc2.data.originals import gray_digests, no_digests
from metatc2.data.registry import register_source
from metatc2.data.store import NO_LABELS, ImageStore, beside_parts, meta_splits
from metatc2.errors import InputError
from metatc2.io.files import check_regular

Arrays = dict[str, NDArray[Any]]


@register_source("npz:PATH")
def load_npz(path: str | Path, image_size: int | None = None, value_range: Sequence[float] | None = None) -> ImageStore:
    """An archive with ``images`` and, where known, ``labels``, ``domains``, ``class_names``, ``domain_names``, ``split``.

    Args:
        path: the file. ``images`` is ``(N, H, W)``, ``(N, H, W, C)`` or ``(N, C, H, W)``, of any type of numbers; which axis is
            that of channels says `metatc2.data.from_anywhere.channels_are_last`, and where both could be meant it is the
            second. ``labels`` and ``domains`` are whole numbers or words ``(N,)``; numbers without names are
            numbered anew and called by their number. ``split`` is a word an image, empty for none; words
            ``meta-train``, ``meta-validation`` and ``meta-test`` replace the library's own.
        image_size: side in pixels; by default the shorter side of the images.
        value_range: values of black and white, of other than 8 bits; by default as `metatc2.data.value_range` says.

    Raises:
        InputError: if the file cannot be read or an array is missing or has another form.
    """
    name = f"npz:{path}"
    arrays = read_arrays(name, Path(path).expanduser(), "images")
    images, limits = _images(name, arrays, value_range)
    count = len(images)
    labels, class_names = numbers(name, arrays, "labels", "class_names", count)
    domains, domain_names = numbers(name, arrays, "domains", "domain_names", count)
    own = named_rows(name, arrays, count)
    # Numbered anew: classes without an image must not be split.
    present, dense = torch.unique(labels, return_inverse=True)
    meta = {} if any(word.startswith("meta-") for word in own) else meta_splits(dense, len(present))
    size = image_size or min(images.shape[-2:])
    notes = crops_noted(about_crops(np.full(count, share_cut(*images.shape[-2:]))))
    if limits is not None:
        notes["value_range"] = f"{limits[0]:g} to {limits[1]:g}"
    if "labels" not in arrays:
        notes[NO_LABELS] = (
            "the archive has no array 'labels': write it again with numpy.savez(PATH, images=..., labels=...), one whole "
            "number or word an image"
        )
    return ImageStore(
        name,
        resize_square(images, size),
        labels,
        domains,
        class_names=class_names,
        domain_names=domain_names,
        splits=beside_parts(meta, own),
        notes=notes,
        originals=no_digests() if images.shape[-2:] == (size, size) else gray_digests(images),
    )


def read_arrays(name: str, file: Path, key: str) -> Arrays:
    """The arrays of an archive.

    Args:
        name: of the source.
        file: where it lies.
        key: an array that must be there.

    Raises:
        InputError: if it is not, or the file cannot be read.
    """
    check_regular(file)
    try:
        with file.open("rb") as opened:
            content = np.load(opened, allow_pickle=False)
            arrays = {} if isinstance(content, np.ndarray) else {key: content[key] for key in content.files}
    except FileNotFoundError as error:
        raise InputError(f"{name}: no such file; write one with numpy.savez(PATH, {key}=..., labels=...)") from error
    except Exception as error:  # NumPy, zipfile and zlib raise a dozen kinds on damaged files
        raise InputError(
            f"{name}: not a readable NumPy archive ({error}); write it again with numpy.savez, without Python objects"
        ) from error
    if key == "images" and "features" in arrays and key not in arrays:
        raise InputError(
            f"{name}: holds features and no images; they are measured by: metatc2 transfer features:{file}"
        )
    if not isinstance(arrays.get(key), np.ndarray):
        held = ", ".join(sorted(arrays)) or "no named arrays"
        raise InputError(f"{name}: no array '{key}' (it holds {held}); write it with numpy.savez(PATH, {key}=...)")
    return arrays


def _images(name: str, arrays: Arrays, value_range: Sequence[float] | None) -> tuple[Tensor, ValueRange | None]:
    images = arrays["images"]
    if images.dtype.kind not in "biuf" or images.ndim not in (3, 4) or images.size == 0:
        raise InputError(
            f"{name}: 'images' must be numbers of shape (N, H, W), (N, H, W, C) or (N, C, H, W), none of them 0, got "
            f"{images.dtype} {images.shape}"
        )
    if images.ndim == 4 and images.shape[1] in (1, 3):
        images = images.transpose(0, 2, 3, 1)  # where both could be meant, channels are first here
    return pixels_of(images, name, value_range)


def numbers(name: str, arrays: Arrays, key: str, names_key: str, count: int) -> tuple[Tensor, tuple[str, ...]]:
    """Labels or domains, int64 ``(count,)``, with their names.

    Raises:
        InputError: if they are neither whole numbers from 0 on nor words, one an image.
    """
    values = arrays.get(key, np.zeros(count, dtype=np.int64))
    if values.dtype.kind == "U" and values.shape == (count,) and names_key not in arrays:
        words, dense = np.unique(values, return_inverse=True)
        return torch.from_numpy(dense.astype(np.int64)), tuple(map(str, words))
    if values.shape != (count,) or values.dtype.kind not in "iu" or values.min() < 0:
        least = f" with {values.min()}" if values.size and values.dtype.kind in "iu" else ""
        raise InputError(
            f"{name}: '{key}' must be whole numbers from 0 on, one an image, shape ({count},), got {values.dtype} "
            f"{values.shape}{least}"
        )
    if names_key not in arrays:
        distinct, dense = np.unique(values, return_inverse=True)
        return torch.from_numpy(dense.astype(np.int64)), tuple(str(value) for value in distinct)
    names = arrays[names_key]
    if names.ndim != 1 or names.dtype.kind != "U":
        raise InputError(f"{name}: '{names_key}' must be a list of words, got {names.dtype} {names.shape}")
    if values.max() >= len(names):
        raise InputError(
            f"{name}: '{key}' lie in {values.min()}..{values.max()} and there are {len(names)} '{names_key}'; "
            "expected 0 for the first name, 1 for the second and so on"
        )
    return torch.from_numpy(values.astype(np.int64)), tuple(str(word) for word in names)


def named_rows(name: str, arrays: Arrays, count: int) -> dict[str, Tensor]:
    """Rows by the words of ``split``.

    Raises:
        InputError: if there is not one word an image, or one is ``all``.
    """
    words = arrays.get("split", np.full(count, ""))
    if words.shape != (count,) or words.dtype.kind != "U":
        raise InputError(
            f"{name}: 'split' must be one word an image, shape ({count},), got {words.dtype} {words.shape}"
        )
    if "all" in words and (words != "all").any():
        raise InputError(f"{name}: 'split' must not use the word 'all', which stands for every image; choose another")
    return {str(word): torch.from_numpy((words == word).nonzero()[0]) for word in np.unique(words) if word}

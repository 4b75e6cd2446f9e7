"""Images of a program's own as a store: arrays, tensors, and any torch ``Dataset``.

How values become pixels of 8 bits is the rule of `metatc2.data.value_range`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from metatc2.data.dataset_items import classes_of, image_and_label, items_of
from metatc2.data.decoding import ValueRange, from_pillow
from metatc2.data.image_io import join, resize_square, resize_square_values
from metatc2.data.originals import gray_digests, no_digests
from metatc2.data.sources._rows import UNLABELED, numbered
from metatc2.data.store import ImageStore, beside_parts, meta_splits
from metatc2.data.value_range import black_and_white, to_8_bits
from metatc2.errors import InputError
from metatc2.ops.numbers import whole as whole_number


def store_of_arrays(
    images: Any,
    labels: Any = None,
    name: str = "arrays",
    *,
    image_size: int | None = None,
    class_names: Sequence[str] = (),
    value_range: Sequence[float] | None = None,
    splits: Mapping[str, Tensor] | None = None,
) -> ImageStore:
    """A store of arrays.

    Args:
        images: NumPy array ``(N, H, W)`` or ``(N, H, W, C)``, or tensor ``(N, H, W)`` or ``(N, C, H, W)``, of any type of
            numbers. Where the shape says that the other order is meant (``(N, 3, 32, 32)`` of NumPy) that is taken, see
            `channels_are_last`.
        labels: one an image: whole numbers, or words; None where there are none, then all are of one class.
        name: of the store.
        image_size: side of square images, to which images are resized and cropped; by default they stay as they are.
        class_names: by label, where labels are whole numbers; by default the labels themselves, numbered anew.
        value_range: values of black and white; by default as `metatc2.data.value_range` says.
        splits: named rows; by default classes are split as `meta_splits` does.

    Raises:
        InputError: if shapes or types are others, or nothing says what black and white are.

    >>> import numpy as np
    >>> store = store_of_arrays(np.full((4, 10, 12, 5), 4095, np.uint16), ["a", "b", "a", "b"])
    >>> store.images.shape, int(store.images.max()), store.notes["value_range"]
    (torch.Size([4, 5, 10, 12]), 255, '0 to 4095')
    """
    _check_options(name, image_size, splits)
    pixels, limits = pixels_of(images, name, value_range)
    return _store(pixels, _listed(labels, len(pixels), name), name, image_size, class_names, limits, splits)


def pixels_of(images: Any, name: str, value_range: Sequence[float] | None = None) -> tuple[Tensor, ValueRange | None]:
    """Arrays of images as uint8 ``(N, C, H, W)``, and what became black and white; None of 8 bits.

    Args:
        images, name, value_range: see `store_of_arrays`.

    Raises:
        InputError: see `store_of_arrays`.
    """
    array = _values(images, name)
    if array.ndim not in (3, 4) or 0 in array.shape:
        raise InputError(
            f"{name}: images must be (N, H, W), (N, H, W, C) or (N, C, H, W), none of them 0, got {tuple(array.shape)}"
        )
    array = array.unsqueeze(1) if array.ndim == 3 else array
    array = _channels_first(array, last=isinstance(images, np.ndarray))
    limits = black_and_white([array], value_range, name)
    return (array if array.dtype == torch.uint8 else to_8_bits(array, limits)), limits


def store_of_dataset(
    dataset: Any,
    name: str = "dataset",
    *,
    image_size: int | None = None,
    class_names: Sequence[str] = (),
    value_range: Sequence[float] | None = None,
    splits: Mapping[str, Tensor] | None = None,
) -> ImageStore:
    """A store of a torch ``Dataset``, which is read once and held in memory.

    Args:
        dataset: has images, pairs of image and label, or mappings with ``image`` (or ``img``, ``pixel_values``) and ``label``
            (or ``labels``, ``target``). An image is one of Pillow's, or an array or tensor as in `store_of_arrays` without N. A
            label is a whole number, a word, or None where it is not known; further parts are not read. Names of classes are
            those of its ``classes``, if it has some.
        name: of the store.
        image_size: side in pixels, to which images are resized and cropped; needed where they are of different sizes.
        class_names, value_range, splits: see `store_of_arrays`.

    Raises:
        InputError: if it has no items, or one cannot be read or is of another form, with the number of the first one.

    >>> store_of_dataset([(Image.new("RGB", (8, 8)), "cat"), (Image.new("RGB", (9, 8)), "dog")], image_size=8).class_names
    ('cat', 'dog')
    """
    _check_options(name, image_size, splits)
    images: list[Tensor] = []
    labels: list[Any] = []
    for row, item in enumerate(items_of(dataset, name)):
        image, label = image_and_label(item, f"{name}: item {row}")
        images.append(_image(image, image_size, f"{name}: item {row}"))
        labels.append(label)
    if not images:
        raise InputError(f"{name}: the dataset has no items")
    sizes = {tuple(image.shape[2:]) for image in images}
    if len(sizes) > 1:
        one, other = sorted(sizes)[:2]
        raise InputError(
            f"{name}: images are of {len(sizes)} sizes (such as {one[0]} × {one[1]} and {other[0]} × {other[1]}); give "
            "image_size"
        )
    limits = black_and_white(images, value_range, name)
    pixels = [image if image.dtype == torch.uint8 else to_8_bits(image, limits) for image in images]
    known = class_names or classes_of(dataset)
    return _store(join(pixels), labels, name, image_size, known, limits, splits)


def _image(image: Any, size: int | None, where: str) -> Tensor:
    """One image as ``(1, C, H, W)``, in 8 bits where it has them."""
    if isinstance(image, Image.Image):
        deep = image.mode in ("I", "F") or image.mode.startswith("I;16")
        kept = np.asarray(image, dtype=np.float64) if deep else None
        tensor = from_pillow(image) if kept is None else torch.from_numpy(kept)
        last = False
    else:
        tensor, last = _values(image, where), isinstance(image, np.ndarray)
    if tensor.ndim not in (2, 3) or 0 in tensor.shape:
        raise InputError(f"{where}: an image must be (H, W), (H, W, C) or (C, H, W), got {tuple(tensor.shape)}")
    tensor = tensor.unsqueeze(0) if tensor.ndim == 2 else tensor
    tensor = _channels_first(tensor[None], last=last)
    if size is None or tensor.shape[2:] == (size, size):
        return tensor
    return resize_square(tensor, size) if tensor.dtype == torch.uint8 else resize_square_values(tensor.float(), size)


def _values(images: Any, where: str) -> Tensor:
    if isinstance(images, Tensor):
        tensor = images.detach().cpu()
    elif isinstance(images, np.ndarray) and images.dtype.kind in "biuf":
        # Torch computes with few of the unsigned types.
        wide = images.dtype.kind == "u" and images.dtype.itemsize > 1
        tensor = torch.from_numpy(np.ascontiguousarray(images.astype(np.int64) if wide else images))
    else:
        raise InputError(f"{where}: must be an image of Pillow, a NumPy array or a tensor, got {type(images).__name__}")
    if tensor.is_complex():
        raise InputError(f"{where}: complex numbers are no pixels; give their size")
    if tensor.dtype == torch.bool:
        return tensor.byte() * 255
    return tensor if tensor.dtype in (torch.uint8, torch.float32) else tensor.double()


def channels_are_last(shape: Sequence[int], *, usual: bool) -> bool:
    """Whether the last of the axes ``(N, ., ., .)`` of images is that of channels, and not the second.

    It is the one of length 1 or 3; else the one beside two axes of one length, as of square images; else the shorter one; where
    that tells nothing, the usual one.

    >>> shapes = (5, 3, 9, 9), (5, 9, 9, 3), (5, 8, 8, 13), (5, 13, 8, 8), (5, 4, 30, 40), (5, 4, 4, 4)
    >>> [channels_are_last(shape, usual=True) for shape in shapes]
    [False, True, True, False, False, True]
    """
    second, third, fourth = shape[1:]
    first, last = second in (1, 3), fourth in (1, 3)
    if first != last:
        return last
    if not first and (second == third) != (third == fourth):
        return second == third
    return usual if first or second == fourth else fourth < second


def _channels_first(images: Tensor, *, last: bool) -> Tensor:
    return images.permute(0, 3, 1, 2).contiguous() if channels_are_last(images.shape, usual=last) else images


def _listed(labels: Any, count: int, name: str) -> list[Any]:
    if labels is None:
        return [0] * count
    listed = labels.tolist() if isinstance(labels, Tensor | np.ndarray) else list(labels)
    if len(listed) != count:
        raise InputError(f"{name}: there are {count} images and {len(listed)} labels; give one an image")
    return listed


def _store(
    pixels: Tensor,
    labels: Sequence[Any],
    name: str,
    image_size: int | None,
    class_names: Sequence[str],
    limits: ValueRange | None,
    splits: Mapping[str, Tensor] | None,
) -> ImageStore:
    values = [_label(label, f"{name}: label {row}") for row, label in enumerate(labels)]
    numbers, names = _numbered(values, class_names, name)
    own: dict[str, Tensor] = {}
    if (none := numbers < 0).any():
        numbers, names = np.where(none, len(names), numbers), [*names, UNLABELED]
        own[UNLABELED] = torch.from_numpy(none.nonzero()[0])
    whole = torch.from_numpy(numbers.astype(np.int64))
    # Numbered anew: classes without an image must not be split.
    present, dense = torch.unique(whole, return_inverse=True)
    small = pixels if image_size is None else resize_square(pixels, image_size)
    return ImageStore(
        name,
        small,
        whole,
        class_names=tuple(names),
        splits=beside_parts(meta_splits(dense, len(present)) if splits is None else splits, own),
        notes={} if limits is None else {"value_range": f"{limits[0]:g} to {limits[1]:g}"},
        originals=no_digests() if small.shape == pixels.shape else gray_digests(pixels),
    )


def _check_options(name: str, image_size: object, splits: object) -> None:
    if image_size is not None:
        whole_number(image_size, f"{name}: image_size", 1)
    if splits is not None and not isinstance(splits, Mapping):
        raise InputError(
            f"{name}: splits must be rows by the name of their split, got {type(splits).__name__}; write "
            "splits={'test': rows}"
        )


def _label(label: Any, where: str) -> int | str | None:
    if isinstance(label, Tensor | np.ndarray | np.generic) and np.ndim(label) == 0:
        label = label.item()
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    if label is None or isinstance(label, int | str):
        return label
    what = (
        f"of shape {tuple(np.shape(label))}" if isinstance(label, Tensor | np.ndarray) else f"a {type(label).__name__}"
    )
    raise InputError(f"{where} is {what}; a label is one whole number or word, or None where it is not known")


def _numbered(
    values: Sequence[int | str | None], class_names: Sequence[str], name: str
) -> tuple[NDArray[np.int64], list[str]]:
    whole = [value for value in values if isinstance(value, int)]
    if not class_names or any(isinstance(value, str) for value in values):
        return numbered(values)
    if whole and not (min(whole) >= 0 and max(whole) < len(class_names)):
        raise InputError(
            f"{name}: labels lie in {min(whole)}..{max(whole)} and there are {len(class_names)} class names; give each a name"
        )
    return np.array([-1 if value is None else value for value in values], dtype=np.int64), list(class_names)

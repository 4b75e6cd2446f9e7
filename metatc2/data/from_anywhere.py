"""Images of a program's own as a store: arrays, tensors, and any torch ``Dataset``.

How values become pixels of 8 bits is one rule for the whole of the images, and is written into the notes of the store
(``value_range``: what became black and white):

* 8 bits stay as they are, and truth values are black and white;
* whole numbers of more bits: black is 0, and white is the largest number of the fewest bits of 8, 10, 12, 14 and 16 that hold
  the brightest pixel of all images;
* floating point: black is 0, and white is 1, or 255 where the brightest pixel is above 1;
  Where the brightest pixel of all is above 1 and far below such a white, a `DarkImages` warning says so;
* in all other cases, negative numbers such as those of normalized images among them, ``value_range`` must be given. What lies
  outside of it becomes black or white.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from metatc2.data.decoding import ValueRange, from_pillow
from metatc2.data.depths import check_value_range
from metatc2.data.image_io import join, resize_square, resize_square_values
from metatc2.data.originals import gray_digests, no_digests
from metatc2.data.sources._rows import UNLABELED, numbered
from metatc2.data.store import ImageStore, beside_parts, meta_splits
from metatc2.errors import InputError
from metatc2.io.suggest import of_data
from metatc2.ops.numbers import whole as whole_number

_IMAGES = ("image", "img", "images", "pixel_values", "jpg", "png")
_LABELS = ("label", "labels", "target", "cls", "fine_label")
_BITS = (8, 10, 12, 14, 16)
#: Brightest pixels below it are a quarter of white or less, where white is 255.
_DARK = 64


class DarkImages(UserWarning):
    """Images are read as nearly black, since nothing says what is white in them."""


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
        value_range: values of black and white; by default as the module says.
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
    limits = _limits([array], value_range, name)
    return (array if array.dtype == torch.uint8 else _pixels(array, limits)), limits


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
    for row, item in enumerate(_items(dataset, name)):
        image, label = _parts(item, f"{name}: item {row}")
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
    limits = _limits(images, value_range, name)
    pixels = [image if image.dtype == torch.uint8 else _pixels(image, limits) for image in images]
    known = class_names or _classes(dataset)
    return _store(join(pixels), labels, name, image_size, known, limits, splits)


def _items(dataset: Any, name: str) -> Any:
    if isinstance(dataset, torch.utils.data.DataLoader):
        raise InputError(f"{name}: is a DataLoader, which gives batches; give its dataset (loader.dataset)")
    if isinstance(dataset, ImageStore | str | Tensor | np.ndarray):
        raise InputError(
            f"{name}: is a {type(dataset).__name__} and no Dataset; from_arrays takes arrays, and metatc2.data.load names of "
            "sources"
        )
    if hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__"):
        return _read(dataset, name, (dataset[row] for row in range(len(dataset))))
    if hasattr(dataset, "__iter__"):
        return _read(dataset, name, iter(dataset))
    raise InputError(
        f"{name}: must be a torch Dataset, or a sequence of images and labels, got {type(dataset).__name__}"
    )


def _read(dataset: Any, name: str, items: Iterator[Any]) -> Iterator[Any]:
    """The items of a user's own code, which may raise whatever there is."""
    for row in itertools.count():
        try:
            item = next(items)
        except StopIteration:
            return
        except Exception as error:
            words = " ".join(str(error).split())[:200]
            why = f"{type(error).__name__}: {words}" if words else type(error).__name__
            raise InputError(
                f"{name}: item {row} of {type(dataset).__name__} cannot be read ({why}); mend the dataset, or leave the item "
                "out (torch.utils.data.Subset)"
            ) from error
        yield item


def _parts(item: Any, where: str) -> tuple[Any, Any]:
    if isinstance(item, Mapping):
        image = next((item[key] for key in _IMAGES if key in item), None)
        if image is None:
            raise InputError(
                f"{where} has {', '.join(map(str, item))} and none of {', '.join(_IMAGES)}; rename its image"
            )
        return image, next((item[key] for key in _LABELS if key in item), 0)
    if isinstance(item, tuple | list):
        if not item:
            raise InputError(f"{where} is empty; expected an image, or an image and its label")
        return item[0], item[1] if len(item) > 1 else 0
    return item, 0


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


def _limits(images: Sequence[Tensor], asked: Sequence[float] | None, name: str) -> ValueRange | None:
    """Black and white; None where all images have 8 bits."""
    deep = [(row, image) for row, image in enumerate(images) if image.dtype != torch.uint8]
    limits = check_value_range(name, asked)
    if not deep:
        return None
    for row, image in deep:
        if not image.isfinite().all():
            raise InputError(f"{name}: images from {row} on hold NaN or infinite values; give such pixels a value")
    darkest = min(float(image.min()) for _, image in deep)
    brightest = max(float(image.max()) for _, image in deep)
    if limits is not None:
        return limits
    whole = all(bool((image == image.round()).all()) for _, image in deep)
    if darkest >= 0 and whole and brightest > 1:
        white = next((2.0**bits - 1 for bits in _BITS if brightest < 2**bits), None)
    else:
        white = next((limit for limit in (1.0, 255.0) if brightest <= limit), None)
    if darkest < 0 or white is None:
        why = "; where a transform normalizes them, leave that out" if darkest < 0 else ""
        raise InputError(
            f"{name}: images hold values from {darkest:g} to {brightest:g}, of which nothing says what black and white are; "
            f"say it with {of_data('value_range', 'BLACK', 'WHITE')}{why}"
        )
    if 1 < brightest < _DARK:
        # Just above 1 is what resizing makes of images in [0, 1].
        likely = "1" if brightest < 2 and not whole else str(math.ceil(brightest))
        warnings.warn(
            f"{name}: the largest value is {brightest:g} and white is taken to be {white:g}, so that all are nearly black; "
            f"if white is {likely}, say it with {of_data('value_range', '0', likely)}, and if not, with {white:g} in its place",
            DarkImages,
            stacklevel=5,
        )
    return 0.0, white


def _pixels(values: Tensor, limits: ValueRange | None) -> Tensor:
    assert limits is not None
    black, white = limits
    return ((values.double() - black) * (255 / (white - black))).round().clamp(0, 255).byte()


def _listed(labels: Any, count: int, name: str) -> list[Any]:
    if labels is None:
        return [0] * count
    listed = labels.tolist() if isinstance(labels, Tensor | np.ndarray) else list(labels)
    if len(listed) != count:
        raise InputError(f"{name}: there are {count} images and {len(listed)} labels; give one an image")
    return listed


def _classes(dataset: Any) -> tuple[str, ...]:
    """Names of classes as torchvision's data sets and Hugging Face's have them, also below ``Subset``."""
    while hasattr(dataset, "dataset") and not hasattr(dataset, "classes"):
        dataset = dataset.dataset
    names = getattr(dataset, "classes", None)
    features = getattr(dataset, "features", None)
    if names is None and isinstance(features, Mapping):
        names = next((getattr(features[key], "names", None) for key in _LABELS if key in features), None)
    whole = isinstance(names, list | tuple) and all(isinstance(each, str) for each in names)
    return tuple(names) if whole and names else ()


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

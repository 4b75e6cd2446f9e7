"""What a torch ``Dataset`` of a program gives: its items, of each the image and the label, and the names of its classes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metatc2.data.store import ImageStore
from metatc2.errors import InputError, kind_of

_IMAGES = ("image", "img", "images", "pixel_values", "jpg", "png")
_LABELS = ("label", "labels", "target", "cls", "fine_label")


def items_of(dataset: Any, name: str) -> Iterator[Any]:
    """The items of a data set, one after the other.

    Raises:
        InputError: if it is none, or an item cannot be read.
    """
    if isinstance(dataset, torch.utils.data.DataLoader):
        raise InputError(f"{name}: is a DataLoader, which gives batches; give its dataset (loader.dataset)")
    if isinstance(dataset, ImageStore | str | Tensor | np.ndarray):
        raise InputError(
            f"{name}: is {kind_of(dataset)} and no Dataset; from_arrays takes arrays, and metatc2.data.load names of "
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


def image_and_label(item: Any, where: str) -> tuple[Any, Any]:
    """The image of an item and its label, 0 where it has none.

    Args:
        item: an image, a pair or a mapping, see `metatc2.data.from_anywhere.store_of_dataset`.
        where: for errors.

    Raises:
        InputError: if there is no image in it.

    >>> image_and_label({"img": "a picture", "fine_label": 3}, "item 0"), image_and_label("a picture", "item 0")
    (('a picture', 3), ('a picture', 0))
    """
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


def classes_of(dataset: Any) -> tuple[str, ...]:
    """Names of classes as torchvision's data sets and Hugging Face's have them, also below ``Subset``."""
    while hasattr(dataset, "dataset") and not hasattr(dataset, "classes"):
        dataset = dataset.dataset
    names = getattr(dataset, "classes", None)
    features = getattr(dataset, "features", None)
    if names is None and isinstance(features, Mapping):
        names = next((getattr(features[key], "names", None) for key in _LABELS if key in features), None)
    whole = isinstance(names, list | tuple) and all(isinstance(each, str) for each in names)
    return tuple(names) if whole and names else ()

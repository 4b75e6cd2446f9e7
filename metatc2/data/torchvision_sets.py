"""torchvision's classification data sets by name, as stores with their official splits."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import datasets

from metatc2.data.resize import resize_square, to_channels
from metatc2.data.store import ImageStore, meta_splits
from metatc2.errors import InputError

UNLABELLED = "unlabelled"


@dataclass(frozen=True)
class Source:
    """How a torchvision data set is constructed.

    Args:
        kind: torchvision's class.
        parts: by the name of a split: arguments that select it.
        size: side in pixels that images are brought to unless the caller names another.
        separate: classes of different parts are different, although their labels coincide.
    """

    kind: Callable[..., Any]
    parts: dict[str, dict[str, Any]]
    size: int
    separate: bool = False


_FLAG: dict[str, dict[str, Any]] = {"train": {"train": True}, "test": {"train": False}}
_SPLIT: dict[str, dict[str, Any]] = {"train": {"split": "train"}, "test": {"split": "test"}}
_WITH_VAL: dict[str, dict[str, Any]] = {**_SPLIT, "val": {"split": "val"}}
_WHOLE: dict[str, dict[str, Any]] = {"all": {}}

SOURCES: dict[str, Source] = {
    "cifar10": Source(datasets.CIFAR10, _FLAG, 32),
    "cifar100": Source(datasets.CIFAR100, _FLAG, 32),
    "mnist": Source(datasets.MNIST, _FLAG, 28),
    "fashionmnist": Source(datasets.FashionMNIST, _FLAG, 28),
    "kmnist": Source(datasets.KMNIST, _FLAG, 28),
    "qmnist": Source(datasets.QMNIST, _FLAG, 28),
    "emnist": Source(datasets.EMNIST, {k: {"split": "balanced", **v} for k, v in _FLAG.items()}, 28),
    "usps": Source(datasets.USPS, _FLAG, 16),
    "stl10": Source(datasets.STL10, {**_SPLIT, "unlabeled": {"split": "unlabeled"}}, 96),
    "svhn": Source(datasets.SVHN, {**_SPLIT, "extra": {"split": "extra"}}, 32),
    "omniglot": Source(
        datasets.Omniglot, {"train": {"background": True}, "test": {"background": False}}, 28, separate=True
    ),
    "eurosat": Source(datasets.EuroSAT, _WHOLE, 64),
    "flowers102": Source(datasets.Flowers102, _WITH_VAL, 64),
    "dtd": Source(datasets.DTD, _WITH_VAL, 64),
    "food101": Source(datasets.Food101, _SPLIT, 64),
    "oxfordiiitpet": Source(datasets.OxfordIIITPet, {"train": {"split": "trainval"}, "test": {"split": "test"}}, 64),
    "fgvcaircraft": Source(datasets.FGVCAircraft, _WITH_VAL, 64),
    "stanfordcars": Source(datasets.StanfordCars, _SPLIT, 64),
    "caltech101": Source(datasets.Caltech101, _WHOLE, 64),
    "caltech256": Source(datasets.Caltech256, _WHOLE, 64),
    "sun397": Source(datasets.SUN397, _WHOLE, 64),
    "gtsrb": Source(datasets.GTSRB, _SPLIT, 32),
    "country211": Source(
        datasets.Country211,
        {"train": {"split": "train"}, "val": {"split": "valid"}, "test": {"split": "test"}},
        64,
    ),
    "pcam": Source(datasets.PCAM, _WITH_VAL, 96),
    "renderedsst2": Source(datasets.RenderedSST2, _WITH_VAL, 64),
    "imagenette": Source(datasets.Imagenette, {"train": {"split": "train"}, "test": {"split": "val"}}, 64),
}


def load_torchvision(
    name: str, *, image_size: int | None = None, root: str | Path | None = None, download: bool = False
) -> ImageStore:
    """A torchvision data set with its official splits, and class-disjoint meta splits.

    Args:
        name: a key of `SOURCES`.
        image_size: side in pixels; by default the data set's own, or 64 where its images differ in size.
        root: where the data lie, as torchvision lays them; by default ``$METATC2_DATA`` or ``~/.cache/metatc2/data``.
        download: let torchvision download what is missing.

    Raises:
        InputError: if the data are not there, or are not what torchvision expects.
    """
    source = SOURCES[name]
    folder = Path(root or os.environ.get("METATC2_DATA") or Path.home() / ".cache" / "metatc2" / "data").expanduser()
    images, labels, parts = [], [], {}
    names: list[str] = []
    start = 0
    for part, arguments in source.parts.items():
        opened = _open(name, source, arguments, folder, download, optional=part in ("unlabeled", "extra"))
        if opened is None:
            continue
        pixels, targets, part_names = _contents(opened, image_size or source.size)
        if source.separate:
            targets = targets + len(names)
            names += [f"{part}/{n}" for n in part_names]
        elif len(part_names) > len(names):
            names = part_names
        images.append(pixels)
        labels.append(targets)
        parts[part] = torch.arange(start, start + len(pixels))
        start += len(pixels)
    channels = max(p.shape[1] for p in images)
    label = torch.cat(labels)
    labelled = label >= 0
    if not bool(labelled.all()):
        label = torch.where(labelled, label, len(names))
        names = [*names, UNLABELLED]
    return ImageStore(
        name,
        torch.cat([to_channels(p, channels) for p in images]),
        label,
        class_names=tuple(names),
        splits={**_meta(source, label, labelled, parts, len(names) - (not bool(labelled.all()))), **parts},
    )


def _meta(source: Source, label: Tensor, labelled: Tensor, parts: dict[str, Tensor], classes: int) -> dict[str, Tensor]:
    if source.separate:
        # The official parts share no class already: the test part is meta-test, the other is dealt.
        train = parts["train"]
        seen = label[train]
        dealt = meta_splits(seen, int(seen.max()) + 1, shares=(0.75, 0.25))
        split = {k: train[torch.isin(seen, seen[rows].unique())] for k, rows in dealt.items() if k != "meta-test"}
        left = dealt["meta-test"]
        split["meta-validation"] = torch.cat([split["meta-validation"], train[left]]).sort().values
        return {**split, "meta-test": parts["test"]}
    rows = labelled.nonzero().flatten()
    return {name: rows[found] for name, found in meta_splits(label[rows], classes).items()}


def _open(
    name: str, source: Source, arguments: dict[str, Any], folder: Path, download: bool, *, optional: bool
) -> Any | None:
    accepts = inspect.signature(source.kind).parameters
    options = {"download": download and not optional} if "download" in accepts else {}
    try:
        return source.kind(str(folder), **arguments, **options)
    except (RuntimeError, OSError, KeyError, ValueError, EOFError) as error:
        if optional:
            return None
        reason = " ".join(str(error).split())
        how = (
            "download it with --set data.download=true"
            if "download" in accepts
            else "torchvision cannot download it, so put its files there as torchvision's page on it says"
        )
        raise InputError(
            f"{name} is not in {folder} or is damaged ({reason[:200]}); {how}, or name its folder with "
            "--set data.root=PATH"
        ) from error


def _contents(opened: Any, size: int) -> tuple[Tensor, Tensor, list[str]]:
    """Pixels, labels (-1: none) and class names of an opened data set."""
    pixels, targets = getattr(opened, "data", None), getattr(opened, "targets", getattr(opened, "labels", None))
    if isinstance(pixels, Tensor | np.ndarray) and targets is not None:
        array = torch.as_tensor(pixels)
        if array.ndim == 3:
            array = array[:, None]
        elif array.shape[-1] in (1, 3) and array.shape[1] not in (1, 3):
            array = array.permute(0, 3, 1, 2)
        images = resize_square(array.contiguous(), size)
        labels = torch.as_tensor(np.asarray(targets)).long()
        labels = labels[:, 0] if labels.ndim == 2 else labels
    else:
        read = [opened[i] for i in range(len(opened))]
        images = torch.cat([_pixels(item[0], size) for item in read]) if read else torch.zeros(0, 3, size, size).byte()
        labels = torch.tensor([int(item[1]) for item in read])
    return images, labels, _names(opened, labels)


def _pixels(image: Any, size: int) -> Tensor:
    if not isinstance(image, Image.Image):
        raise InputError(f"expected Pillow images from torchvision, got {type(image).__name__}")
    image = image.convert("L" if image.mode in ("1", "L") else "RGB")
    array = torch.from_numpy(np.array(image))
    return resize_square((array[None] if array.ndim == 2 else array.permute(2, 0, 1))[None], size)


def _names(opened: Any, labels: Tensor) -> list[str]:
    count = int(labels.max()) + 1 if len(labels) and int(labels.max()) >= 0 else 0
    found: Sequence[Any] = getattr(opened, "classes", None) or getattr(opened, "_characters", None) or ()
    return [str(n) for n in found] if len(found) >= count else [str(i) for i in range(count)]

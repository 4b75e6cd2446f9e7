"""torchvision's classification data sets by name, as stores with their official splits."""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision import datasets

from metatc2.data.crops import about_crops, crops_noted
from metatc2.data.gather import Unreadable, gather
from metatc2.data.image_io import join, resize_square, share_cut
from metatc2.data.originals import Digests, gray_digests, no_digests
from metatc2.data.registry import register_source
from metatc2.data.sources._torchvision_files import TorchvisionImages, check_disjoint, image_files, sun397_partition
from metatc2.data.store import ImageStore, beside_parts, meta_splits
from metatc2.data.streaming import Images, StreamedImages
from metatc2.errors import InputError, MissingPackage
from metatc2.io.suggest import of_data

UNLABELED = "unlabeled"
PER_CLASS = "mean per class"  # of Kornblith et al. 2019 (arXiv 1805.08974), table 1
_OPTIONAL = ("extra", "unlabeled")  # parts that need not be there


@dataclass(frozen=True)
class TorchvisionSource:
    """A torchvision data set: how it is constructed. Called, it is loaded.

    Args:
        kind: torchvision's class.
        parts: by the name of a split: arguments that select it.
        size: side in pixels that images are brought to unless the caller names another.
        separate: classes of different parts are different, although their labels coincide.
        unordered: torchvision lists it as the file system does, which differs between machines.
        needs: package that torchvision reads it with.
        metric: see `ImageStore`.
        lists: further parts, by their files.
    """

    kind: Callable[..., Any]
    parts: dict[str, dict[str, Any]]
    size: int
    separate: bool = False
    unordered: bool = False
    needs: str | None = None
    metric: str = "accuracy"
    lists: Callable[[Any], dict[str, list[str]]] | None = None

    def __call__(
        self,
        *,
        name: str,
        image_size: int | None = None,
        root: str | Path | None = None,
        download: bool = False,
        stream: bool = False,
        workers: int = 0,
    ) -> ImageStore:
        """A torchvision data set with its official splits, and class-disjoint meta splits.

        STL-10's images without a label are a class of their own, `UNLABELED`, which is in no meta split. Omniglot's
        background set is ``train`` and its evaluation set ``test``; they share no class, and the latter is ``meta-test``.
        Parts that need not be there (SVHN's ``extra``) are named in the store's notes under ``missing_splits``.

        Args:
            name: what it is called.
            image_size: side in pixels; by default the data set's own, or 64 where its images differ in size.
            root: where the data lie, as torchvision lays them; by default ``$METATC2_DATA`` or ``~/.cache/metatc2/data``.
            download: let torchvision download what is missing.
            stream: leave image files on disk; data sets that are files of arrays (CIFAR, SVHN, STL-10) are read all the same.
            workers: threads that read image files.

        Raises:
            InputError: if the data are not there, or are not what torchvision expects, or its lists share an image.
            MissingPackage: if torchvision needs a package to read them.
        """
        if self.needs and find_spec(self.needs) is None:
            raise MissingPackage(f"{name} is read with {self.needs}; install it with: pip install {self.needs}")
        folder = Path(os.path.expanduser(root or os.environ.get("METATC2_DATA") or "~/.cache/metatc2/data"))
        images: list[Images] = []
        originals: list[Digests] = []
        labels: list[Tensor] = []
        names: list[str] = []
        parts: dict[str, Tensor] = {}
        files: dict[str, list[str] | None] = {}
        missing, crops, start = [], list[str](), 0
        for part, arguments in self.parts.items():
            opened = _open(name, self.kind, part, arguments, folder, download)
            if opened is None:
                missing.append(part)
                continue
            files[part] = image_files(opened)
            pixels, targets, part_names, rows, known, cut = _contents(
                name, opened, image_size or self.size, stream, workers, unordered=self.unordered
            )
            if self.separate:
                targets = targets + len(names)
                names += part_names
            elif len(part_names) > len(names):
                names = part_names
            crops.append(cut)
            images.append(pixels)
            originals.append(known)
            labels.append(targets)
            parts[part] = torch.arange(start, start + len(pixels))
            if self.lists is not None:
                place = {(files[part] or [])[row]: start + i for i, row in enumerate(rows.tolist())}
                listed = self.lists(opened)
                check_disjoint(name, dict(listed))
                parts |= {own: torch.tensor([place[file] for file in held]) for own, held in listed.items()}
            start += len(pixels)
        check_disjoint(name, files)
        label = torch.cat(labels)
        meta = _meta(label, parts, self.separate)
        if bool((label < 0).any()):
            label = torch.where(label < 0, len(names), label)
            names = [*names, UNLABELED]
        return ImageStore(
            name,
            _together(images),
            label,
            class_names=tuple(names),
            splits=beside_parts(meta, parts),
            notes=crops_noted(*crops) | ({"missing_splits": ", ".join(missing)} if missing else {}),
            metric=self.metric,
            originals=np.concatenate(originals),
        )


def _meta(label: Tensor, parts: dict[str, Tensor], separate: bool) -> dict[str, Tensor]:
    """Meta splits of the labeled rows; parts that share no class stay as far apart as they are."""
    rows = parts["train"] if separate else (label >= 0).nonzero().flatten()
    # Numbered anew: classes without an image must not be split.
    present, dense = torch.unique(label[rows], return_inverse=True)
    # A quarter is held out (split in two halves, which are joined below) where the test part has classes of its own.
    shares = (0.75, 0.125) if separate else (0.6, 0.2)
    meta = {name: rows[own] for name, own in meta_splits(dense, len(present), shares=shares).items()}
    if not separate:
        return meta
    held_out = [meta[name] for name in ("meta-validation", "meta-test") if name in meta]
    validation = {"meta-validation": torch.cat(held_out).sort().values} if held_out else {}
    return {"meta-train": meta["meta-train"], **validation, "meta-test": parts["test"]}


def _open(
    name: str, kind: Callable[..., Any], part: str, arguments: dict[str, Any], folder: Path, download: bool
) -> Any | None:
    accepted = inspect.signature(kind).parameters.values()
    # EMNIST and QMNIST hand it on to MNIST.
    can = any(p.name == "download" or p.kind is inspect.Parameter.VAR_KEYWORD for p in accepted)
    # What need not be there is large (SVHN's extra: 1.3 GB) and is not downloaded.
    options = {"download": download and part not in _OPTIONAL} if can else {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy's, on CIFAR's pickles of Python 2
            return kind(str(folder), **arguments, **options)
    except Exception as error:  # torchvision raises a dozen kinds on files that are missing or damaged
        if part in _OPTIONAL:
            return None
        reason = " ".join(str(error).split())[:200]
        if download and can:
            raise InputError(
                f"{name} could not be downloaded to {folder} ({reason}); check the network and the free space, or put "
                "its files there yourself as torchvision lays them"
            ) from error
        get = (
            f"download it with {of_data('download')}"
            if can
            else "torchvision cannot download it, so put its files there as torchvision's page on it says"
        )
        raise InputError(
            f"{name} is not in {folder} or is damaged ({reason}); {get}; if it lies elsewhere, name that folder with "
            f"{of_data('root', 'PATH')}"
        ) from error


def _contents(
    name: str, opened: Any, size: int, stream: bool, workers: int, *, unordered: bool
) -> tuple[Images, Tensor, list[str], Tensor, Digests, str]:
    """Pixels, labels (-1: none), class names, which row of the opened data set each image is, originals, and `about_crops`."""
    pixels, targets = getattr(opened, "data", None), getattr(opened, "targets", getattr(opened, "labels", None))
    if isinstance(pixels, Tensor | np.ndarray) and targets is not None:
        array = torch.as_tensor(pixels)
        if array.ndim == 3:
            array = array[:, None]
        elif array.shape[1] not in (1, 3):
            array = array.permute(0, 3, 1, 2)
        images = resize_square(array, size)  # no copy of the whole before: STL-10 holds 2.8 GB
        labels = torch.as_tensor(np.asarray(targets)).long()
        labels = labels[:, 0] if labels.ndim == 2 else labels  # QMNIST: the digit, then its writer and more
        known = no_digests() if array.shape[-2:] == (size, size) else gray_digests(array)
        cut = about_crops(np.full(len(labels), share_cut(*array.shape[-2:])))
        return images, labels, _names(opened, int(labels.max()) + 1), torch.arange(len(labels)), known, cut
    if not len(opened):
        raise InputError(f"{name} holds no image; delete the data set's folder and download it again")
    try:
        gathered = gather(TorchvisionImages(opened, size), name, stream=stream, workers=workers, digests=unordered)
    except Unreadable as error:
        raise InputError(
            f"{name}: image {error.row} of {len(opened)} cannot be read ({error.reason}); delete the data set's folder and "
            "download it again"
        ) from error
    names = _names(opened, int(gathered.labels.max()) + 1)
    if not unordered:
        return gathered.images, gathered.labels, names, gathered.rows, gathered.originals, gathered.crops
    order, labels = _order(gathered.labels, gathered.digests, names)
    whole = gathered.images
    sorted_images: Images = whole.select(order) if isinstance(whole, StreamedImages) else whole[order]
    originals = gathered.originals[order.numpy()]
    return sorted_images, labels, sorted(names), gathered.rows[order], originals, gathered.crops


def _together(parts: list[Images]) -> Images:
    """All parts as one: gray if all are gray, else color."""
    streamed = [part for part in parts if isinstance(part, StreamedImages)]
    if not streamed:
        return join([part for part in parts if isinstance(part, Tensor)])
    return StreamedImages.joined(streamed)


def _names(opened: Any, count: int) -> list[str]:
    for attribute in ("classes", "categories", "_characters"):
        names = getattr(opened, attribute, None) or ()
        if len(names) >= max(1, count):
            # Imagenette: a class is a tuple of synonyms.
            return [str(n[0] if isinstance(n, tuple) else n) for n in names]
    return [str(i) for i in range(count)]


def _order(labels: Tensor, digests: Tensor, names: list[str]) -> tuple[Tensor, Tensor]:
    """Order of the rows, and their labels in it: classes by name and their images by content, on every machine the same."""
    place = {old: new for new, old in enumerate(sorted(range(len(names)), key=names.__getitem__))}
    numbers = [place[label] for label in labels.tolist()]
    content = [bytes(digest) for digest in digests.numpy()]
    rows = sorted(range(len(numbers)), key=lambda row: (numbers[row], content[row]))
    return torch.tensor(rows), torch.tensor([numbers[row] for row in rows])


_FLAG: dict[str, dict[str, Any]] = {"train": {"train": True}, "test": {"train": False}}
_SPLIT: dict[str, dict[str, Any]] = {"train": {"split": "train"}, "test": {"split": "test"}}
_WITH_VAL: dict[str, dict[str, Any]] = {**_SPLIT, "val": {"split": "val"}}
_WHOLE: dict[str, dict[str, Any]] = {"all": {}}

register_source("cifar10")(TorchvisionSource(datasets.CIFAR10, _FLAG, 32))
register_source("cifar100")(TorchvisionSource(datasets.CIFAR100, _FLAG, 32))
register_source("mnist")(TorchvisionSource(datasets.MNIST, _FLAG, 28))
register_source("fashionmnist")(TorchvisionSource(datasets.FashionMNIST, _FLAG, 28))
register_source("kmnist")(TorchvisionSource(datasets.KMNIST, _FLAG, 28))
register_source("qmnist")(TorchvisionSource(datasets.QMNIST, _FLAG, 28))
register_source("emnist")(
    TorchvisionSource(datasets.EMNIST, {k: {"split": "balanced", **v} for k, v in _FLAG.items()}, 28)
)
register_source("usps")(TorchvisionSource(datasets.USPS, _FLAG, 16))
register_source("semeion")(TorchvisionSource(datasets.SEMEION, _WHOLE, 16))
register_source("stl10")(TorchvisionSource(datasets.STL10, {**_SPLIT, "unlabeled": {"split": "unlabeled"}}, 96))
register_source("svhn")(TorchvisionSource(datasets.SVHN, {**_SPLIT, "extra": {"split": "extra"}}, 32))
register_source("omniglot")(
    TorchvisionSource(
        datasets.Omniglot,
        {"train": {"background": True}, "test": {"background": False}},
        28,
        separate=True,
        unordered=True,
    )
)
register_source("eurosat")(TorchvisionSource(datasets.EuroSAT, _WHOLE, 64))
register_source("flowers102")(TorchvisionSource(datasets.Flowers102, _WITH_VAL, 64, metric=PER_CLASS))
register_source("dtd")(TorchvisionSource(datasets.DTD, _WITH_VAL, 64))
register_source("food101")(TorchvisionSource(datasets.Food101, _SPLIT, 64))
register_source("oxfordiiitpet")(
    TorchvisionSource(
        datasets.OxfordIIITPet, {"train": {"split": "trainval"}, "test": {"split": "test"}}, 64, metric=PER_CLASS
    )
)
register_source("fgvcaircraft")(TorchvisionSource(datasets.FGVCAircraft, _WITH_VAL, 64, metric=PER_CLASS))
register_source("stanfordcars")(TorchvisionSource(datasets.StanfordCars, _SPLIT, 64))
register_source("caltech101")(TorchvisionSource(datasets.Caltech101, _WHOLE, 64, metric=PER_CLASS))
register_source("caltech256")(TorchvisionSource(datasets.Caltech256, _WHOLE, 64))
register_source("sun397")(TorchvisionSource(datasets.SUN397, _WHOLE, 64, unordered=True, lists=sun397_partition))
register_source("gtsrb")(TorchvisionSource(datasets.GTSRB, _SPLIT, 32))
register_source("country211")(
    TorchvisionSource(
        datasets.Country211, {"train": {"split": "train"}, "val": {"split": "valid"}, "test": {"split": "test"}}, 64
    )
)
register_source("pcam")(TorchvisionSource(datasets.PCAM, _WITH_VAL, 96, needs="h5py"))
register_source("renderedsst2")(TorchvisionSource(datasets.RenderedSST2, _WITH_VAL, 64))
register_source("imagenette")(
    TorchvisionSource(datasets.Imagenette, {"train": {"split": "train"}, "test": {"split": "val"}}, 64)
)

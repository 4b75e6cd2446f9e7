"""`ImageStore`: the one type that every data source returns and every sampler reads."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metatc2.data.cache import Facts, recall, remember
from metatc2.data.originals import Digests, no_digests
from metatc2.data.sources.shapes.factors import GenerativeFactors
from metatc2.data.streaming import Images, StreamedImages, in_chunks
from metatc2.errors import InputError, kind_of, nearest

METRICS = ("accuracy", "mean per class")


#: Key of `ImageStore.notes`.
NO_LABELS = "no labels"


@dataclass(frozen=True, eq=False, repr=False)
class ImageStore:
    """Images, in memory or on disk, with labels, domains and named splits.

    Args:
        name: how the source is called on the command line, e.g. ``"glyphs"`` or ``"folder:/data/birds"``.
        images: uint8, ``(N, C, H, W)``; a tensor, or `StreamedImages` that are read row by row. What has other than 1 or 3
            channels has no colors: see `metatc2.augment.Views`. Images that are not square have no `image_size`, and what needs
            one refuses them; samplers, views and protocols on features take them.
        labels: int64, ``(N,)``: class of each image, an index into `class_names`.
        domains: int64, ``(N,)``: style, vendor or font of each image, an index into `domain_names`.
        class_names: one name a class.
        domain_names: one name a domain.
        splits: named sets of rows, each an int64 vector. ``meta-train``, ``meta-validation`` and ``meta-test`` share no
            class; other names (``train``, ``greek``) are a source's own. ``all`` always exists.
        groups: names that stand for several splits, in which an episode must not mix them (one script at a time).
        notes: facts worth recording with a result, e.g. how many files could not be read; ``NO_LABELS`` says how labels are
            given where there are none.
        metric: what the data set's convention reports, one of `METRICS`: the share of images classified rightly, or that
            share in each class, averaged over classes.
        originals: uint64 ``(N,)``: a digest of each image as it was before it was resized (see `metatc2.data.originals`), by
            which images are told at any size; 0 where it is unknown, and none at all where nothing was resized. No part of
            the checksum. Those of other than N images are dropped.
        factors: what the images were made from, row by row, where that is known because they were rendered. No part of the
            checksum. Those of other than N images are dropped.

    Raises:
        InputError: if shapes, dtypes, the metric or the class-disjointness of the meta splits do not hold.

    >>> store = ImageStore("two", torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 0, 1, 1]))
    >>> store.rows("all").tolist(), store.class_names
    ([0, 1, 2, 3], ('0', '1'))
    """

    name: str
    images: Images
    labels: Tensor
    domains: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    class_names: tuple[str, ...] = ()
    domain_names: tuple[str, ...] = ()
    splits: Mapping[str, Tensor] = field(default_factory=dict)
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: Mapping[str, str | int] = field(default_factory=dict)
    metric: str = "accuracy"
    originals: Digests = field(default_factory=no_digests)
    factors: GenerativeFactors | None = None

    def __post_init__(self) -> None:
        n = len(self.images)
        self._check_images()
        if self.metric not in METRICS:
            raise InputError(f"{self.name}: unknown metric {self.metric!r}; {nearest(self.metric, METRICS)}")
        if len(self.domains) == 0 and n:
            object.__setattr__(self, "domains", torch.zeros(n, dtype=torch.int64))
        self._check_vector("labels")
        self._check_vector("domains")
        if len(self.originals) not in (0, n):
            object.__setattr__(self, "originals", no_digests())  # of the images that these were chosen from
        if self.factors is not None and len(self.factors) != n:
            object.__setattr__(self, "factors", None)
        self._name_and_check("labels", "class_names", "class")
        self._name_and_check("domains", "domain_names", "domain")
        object.__setattr__(self, "splits", {**self.splits, "all": torch.arange(n)})
        self._check_splits()
        self._check_meta_splits()

    def _check_images(self) -> None:
        last = self.images.ndim == 4 and self.images.shape[1] not in (1, 3) and self.images.shape[3] in (1, 3)
        if self.images.dtype != torch.uint8 or self.images.ndim != 4 or 0 in self.images.shape[1:] or last:
            raise InputError(
                f"{self.name}: images must be uint8 of shape (N, C, H, W), none of C, H and W 0, "
                f"got {self.images.dtype} {tuple(self.images.shape)}; ImageStore.from_arrays takes others"
            )

    def _check_vector(self, field: str) -> None:
        """Whether labels or domains are one number an image."""
        numbers, n = getattr(self, field), len(self.images)
        if numbers.shape != (n,) or numbers.dtype != torch.int64:
            raise InputError(
                f"{self.name}: {field} must be int64 of shape ({n},), got {numbers.dtype} {tuple(numbers.shape)}"
            )

    def _name_and_check(self, field: str, names: str, one: str) -> None:
        """Numbers in place of names that were not given, and whether there is a name for each number."""
        numbers = getattr(self, field)
        most = int(numbers.max()) + 1 if len(numbers) else 0
        if not getattr(self, names):
            object.__setattr__(self, names, tuple(map(str, range(most))))
        there = len(getattr(self, names))
        if most > there or (len(numbers) and int(numbers.min()) < 0):
            raise InputError(f"{self.name}: {field} must lie in 0..{there - 1}, one name a {one}")

    def _check_splits(self) -> None:
        for name, rows in self.splits.items():
            inside = isinstance(rows, Tensor) and rows.ndim == 1 and rows.dtype == torch.int64
            if not inside or (len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < len(self)):
                raise InputError(f"{self.name}: split {name!r} must be an int64 vector of rows in 0..{len(self) - 1}")
        for name, parts in self.groups.items():
            for part in parts:
                if part not in self.splits:
                    raise InputError(f"{self.name}: group {name!r} names {part!r}; {nearest(part, self.splits)}")

    def _check_meta_splits(self) -> None:
        seen: dict[int, str] = {}
        for name in ("meta-train", "meta-validation", "meta-test"):
            if name not in self.splits and name not in self.groups:
                continue
            for label in self.labels[self.rows(name)].unique().tolist():
                if seen.setdefault(label, name) != name:
                    raise InputError(
                        f"{self.name}: class {self.class_names[label]!r} is in both {seen[label]} and {name}; "
                        "meta splits must share no class"
                    )

    @classmethod
    def from_dataset(cls, dataset: Any, name: str = "dataset", **options: Any) -> ImageStore:
        """A store of the images and labels of a torch ``Dataset``, see `metatc2.data.from_anywhere.store_of_dataset`.

        Args:
            dataset, name, options: as there.

        >>> images = [(torch.full((3, 8, 8), i / 4), i % 2) for i in range(4)]
        >>> store = ImageStore.from_dataset(images)
        >>> store.images[:, 0, 0, 0].tolist(), store.labels.tolist()
        ([0, 64, 128, 191], [0, 1, 0, 1])
        """
        from metatc2.data.from_anywhere import store_of_dataset

        return store_of_dataset(dataset, name, **options)

    @classmethod
    def from_arrays(cls, images: Any, labels: Any = None, name: str = "arrays", **options: Any) -> ImageStore:
        """A store of arrays of images and labels, see `metatc2.data.from_anywhere.store_of_arrays`.

        Args:
            images, labels, name, options: as there.

        >>> ImageStore.from_arrays(np.zeros((5, 8, 8, 13), np.uint16), np.arange(5)).images.shape
        torch.Size([5, 13, 8, 8])
        """
        from metatc2.data.from_anywhere import store_of_arrays

        return store_of_arrays(images, labels, name, **options)

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        """What it holds, in one line.

        >>> ImageStore("toy", torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.arange(4) % 2)
        ImageStore('toy', 4 images 1 × 8 × 8, 2 classes, splits: all)
        """
        shape = " × ".join(map(str, self.images.shape[1:]))
        splits = ", ".join((*self.groups, *self.splits))
        return (
            f"ImageStore({self.name!r}, {len(self)} images {shape}, {len(self.class_names)} classes, splits: {splits})"
        )

    @property
    def channels(self) -> int:
        """1 (gray), 3 (color), or as many as the images have."""
        return int(self.images.shape[1])

    @property
    def image_size(self) -> int:
        """Side of the square images in pixels.

        Raises:
            InputError: if they are not square.
        """
        height, width = self.images.shape[2:]
        if height != width:
            raise InputError(
                f"{self.name}: images are {height} × {width} and here they must be square; make the store with image_size"
            )
        return int(height)

    def rows(self, split: str) -> Tensor:
        """Rows of a split or of a group of splits, int64 ``(n,)``.

        Raises:
            InputError: if there is no such split.
        """
        return torch.cat([self.splits[part] for part in self.expand(split)])

    def expand(self, split: str) -> tuple[str, ...]:
        """The splits a name stands for: itself, or the members of a group.

        Raises:
            InputError: if there is no such split.
        """
        if split in self.groups:
            return self.groups[split]
        if split not in self.splits:
            known = {*self.splits, *self.groups}
            raise InputError(f"{self.name} has no split {split!r}; {nearest(split, known)}")
        return (split,)

    def checksum(self) -> str:
        """SHA-256 over pixels, labels, domains, splits, groups: stores with the same checksum give the same numbers.

        Streamed images have the checksum that they have in memory. It takes reading them all, once: it is kept in the
        cache folder (see `remember`) for as long as the files keep their names, sizes and times.
        """
        shapes = [(name, len(self.splits[name])) for name in sorted(self.splits)]
        digest = hashlib.sha256(repr((tuple(self.images.shape), shapes, sorted(self.groups.items()))).encode())
        rest = [self.labels, self.domains, *(self.splits[name] for name, _ in shapes)]
        key = ""
        if isinstance(self.images, StreamedImages) and (files := self.images.fingerprint()):
            about = digest.copy()
            for tensor in rest:
                about.update(tensor.contiguous().numpy().tobytes())
            key = f"checksum {files} {about.hexdigest()}"
            if facts := recall(key, {"checksum": (np.str_, ())}, _is_checksum):
                return str(facts["checksum"])
        for tensor in chain(in_chunks(self.images), rest):
            digest.update(tensor.contiguous().numpy().data)
        if key:
            remember(key, {"checksum": np.array(digest.hexdigest())})
        return digest.hexdigest()


def how_to_label(store: ImageStore) -> str:
    """What to do about a source whose images have no labels, as the end of a sentence; empty where they have some.

    >>> how_to_label(ImageStore("one", torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64)))
    ''
    """
    return f"; {store.notes[NO_LABELS]}" if NO_LABELS in store.notes else ""


def _is_checksum(facts: Facts) -> bool:
    return re.fullmatch("[0-9a-f]{64}", str(facts["checksum"])) is not None


def require_store(given: object, where: str) -> None:
    """Nothing, if a store is given.

    Raises:
        InputError: that says how to make one of what is given.

    >>> require_store([1, 2], "Target")
    Traceback (most recent call last):
    metatc2.errors.InputError: Target: takes an ImageStore, got a list; make one: ImageStore.from_dataset(dataset) of a torch
    Dataset, ImageStore.from_arrays(images, labels) of arrays, metatc2.data.load(NAME) of a name
    """
    if not isinstance(given, ImageStore):
        raise InputError(
            f"{where}: takes an ImageStore, got {kind_of(given)}; make one: ImageStore.from_dataset(dataset) of a "
            "torch Dataset, ImageStore.from_arrays(images, labels) of arrays, metatc2.data.load(NAME) of a name"
        )


def beside_parts(meta: Mapping[str, Tensor], parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Meta splits and published parts together; meta-train without what was published for validation or test.

    Whoever pre-trains on meta-train can then still measure on the published test images, though their classes are known.

    >>> meta, rows = {"meta-train": torch.arange(6)}, torch.arange(8)
    >>> beside_parts(meta, {"train": rows[::2], "test": rows[1::2]})["meta-train"]
    tensor([0, 2, 4])
    """
    both = {**meta, **parts}
    if "train" in parts and "meta-train" in meta and "meta-train" not in parts:
        learned = meta["meta-train"][torch.isin(meta["meta-train"], parts["train"])]
        # None of its classes may have a training image: then the published parts are classes of their own.
        both["meta-train"] = learned if len(learned) else meta["meta-train"]
    return both


def meta_splits(labels: Tensor, classes: int, *, shares: tuple[float, float] = (0.6, 0.2)) -> dict[str, Tensor]:
    """Class-disjoint rows for meta-train, meta-validation and meta-test.

    Classes are split by a fixed permutation (it depends on their number alone), so the same data gives the same splits
    on every machine. With fewer than three classes everything is meta-train, since nothing disjoint could be tested.

    Args:
        labels: int64 ``(N,)``.
        classes: number of classes.
        shares: share of the classes in meta-train and in meta-validation; the rest is meta-test.

    >>> parts = meta_splits(torch.arange(10).repeat_interleave(2), 10)
    >>> {name: len(rows) for name, rows in parts.items()}
    {'meta-train': 12, 'meta-validation': 4, 'meta-test': 4}
    """
    if classes < 3:
        return {"meta-train": torch.arange(len(labels))}
    order = torch.randperm(classes, generator=torch.Generator().manual_seed(classes))
    validation = min(max(1, round(shares[1] * classes)), classes - 2)
    train = min(max(1, round(shares[0] * classes)), classes - validation - 1)
    part = torch.empty(classes, dtype=torch.int64)
    part[order] = torch.tensor([0] * train + [1] * validation + [2] * (classes - train - validation))
    names = ("meta-train", "meta-validation", "meta-test")
    return {name: (part[labels] == i).nonzero().flatten() for i, name in enumerate(names)}

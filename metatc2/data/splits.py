"""Which images a transfer result learns from, chooses on and is tested on: what each data set's convention says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from metatc2.data.store import ImageStore, how_to_label
from metatc2.errors import InputError

SEED = 0  # of every part that was not published: the same for all methods and machines
_HELD_OUT = 0.2  # of the training images, where no validation set was published (SSL-Transfer, arXiv 2011.13377)
_CALTECH_TRAIN = 30  # images a class
_SUN_EACH = 50  # training images a class, and as many test images


class TransferSplits(NamedTuple):
    """Rows of a store, int64, disjoint; and where they come from, in words that stand in the result."""

    train: Tensor
    validation: Tensor
    test: Tensor
    how: str


def transfer_splits(store: ImageStore) -> TransferSplits:
    """Training, validation and test rows of a labeled store, by the conventions of Kornblith et al. 2019 (arXiv 1805.08974).

    Published parts are used where there are any; a missing validation part is a fixed, stratified fifth of the training
    images, as in SSL-Transfer (Ericsson et al. 2021, arXiv 2011.13377). Caltech-101 has 30 training images a class and
    SUN397 50 and 50, drawn once where no list says which. All others are cut by 60, 20 and 20 % of every class.
    Hyper-parameters are chosen on validation, the classifier is then fitted on training and validation together.
    The metric that goes with them is ``store.metric``.

    Args:
        store: images without a label (STL-10's) lie in its split ``unlabeled`` and are in no part.

    Raises:
        InputError: if there are fewer than two classes, a class has too few images, published parts share an image, or a
            part holds a class that is not among the training images.

    >>> store = ImageStore("toy", torch.zeros(20, 1, 4, 4, dtype=torch.uint8), torch.arange(20) // 10)
    >>> splits = transfer_splits(store)
    >>> len(splits.train), len(splits.validation), len(splits.test)
    (12, 4, 4)
    >>> splits.how
    'no published parts: 60 % training, 20 % validation, 20 % test images of every class (seed 0)'
    """
    return label_splits(store.labels, store.name, store.class_names, store.splits, cure=how_to_label(store))


def label_splits(
    labels: Tensor,
    name: str,
    class_names: Sequence[str],
    published: Mapping[str, Tensor] | None = None,
    *,
    cure: str = "",
) -> TransferSplits:
    """As `transfer_splits`, of labels alone.

    Args:
        labels: int64 ``(N,)``; the parts are rows of them.
        name: of the source, whose convention is followed; stands in errors.
        class_names: by label.
        published: the source's own parts by name, if any.
        cure: end of the sentence where there are no two classes.

    Raises:
        InputError: see `transfer_splits`.

    >>> splits = label_splits(torch.arange(20) // 10, "toy", ("a", "b"))
    >>> len(splits.train), len(splits.validation), len(splits.test)
    (12, 4, 4)
    """
    source = _Labels(name, labels, class_names, published or {})
    labeled = _labeled(source)
    if len(torch.unique(labels[labeled])) < 2:
        raise InputError(
            f"{name} holds {'one class' if len(labeled) else 'no labeled image'}, and a classifier needs at least two; "
            f"name another source{cure}"
        )
    kind = name.partition(":")[0]
    splits = _published(source) or _BY_NAME.get(kind, _thirds)(source, labeled)
    train = set(torch.unique(labels[splits.train]).tolist())
    for part in ("validation", "test"):
        unknown = set(torch.unique(labels[getattr(splits, part)]).tolist()) - train
        if unknown:
            raise InputError(
                f"{name}: {len(unknown)} classes of the {part} part have no training image (first "
                f"{class_names[min(unknown)]!r}); add some, or take these classes out"
            )
    return splits


@dataclass(frozen=True, eq=False)
class _Labels:
    """What the conventions look at."""

    name: str
    labels: Tensor
    class_names: Sequence[str]
    splits: Mapping[str, Tensor] = field(default_factory=dict)


def _labeled(source: _Labels) -> Tensor:
    rows = source.splits.get("all", torch.arange(len(source.labels)))
    return rows[~torch.isin(rows, source.splits["unlabeled"])] if "unlabeled" in source.splits else rows


def _published(source: _Labels) -> TransferSplits | None:
    """The source's own parts; None where it has none that a classifier could use."""
    parts: Mapping[str, Tensor] = {
        part: source.splits[name]
        for name, part in (("train", "train"), ("val", "validation"), ("validation", "validation"), ("test", "test"))
        if name in source.splits and len(source.splits[name])
    }
    kind = source.name.partition(":")[0]
    whose = _WHOSE.get(kind, "published")
    if set(parts) == {"train", "validation"}:
        parts = {"train": parts["train"], "test": parts["validation"]}
        whose += " (its validation images are the test: those of the test are not published)"
    if not {"train", "test"} <= set(parts):
        return None
    _check_disjoint(source, parts)
    if not torch.isin(source.labels[parts["test"]], source.labels[parts["train"]]).any():
        return None  # parts of different classes (Omniglot) are for few-shot episodes
    if "validation" in parts:
        return TransferSplits(**parts, how=f"{whose} training, validation and test images")
    train, validation = _hold_out(source, parts["train"])
    how = f"{whose} training and test images; validation is a fixed 20 % of every class of the training images (seed {SEED})"
    return TransferSplits(train, validation, parts["test"], how)


def _check_disjoint(source: _Labels, parts: Mapping[str, Tensor]) -> None:
    seen: dict[int, str] = {}
    for part, rows in parts.items():
        both = [row for row in rows.tolist() if row in seen]
        if both or len(torch.unique(rows)) < len(rows):
            other = f"in {seen[both[0]]} and" if both else "twice"
            raise InputError(
                f"{source.name}: {len(both) or len(rows) - len(torch.unique(rows))} images are {other} in {part}; parts must "
                "share no image, so correct the lists"
            )
        seen.update(dict.fromkeys(rows.tolist(), part))


def _thirds(source: _Labels, rows: Tensor) -> TransferSplits:
    def shares(count: int) -> tuple[int, int]:
        held = max(1, round(_HELD_OUT * count))
        return held, held

    validation, test, train = _cut(source, rows, shares, least=3, why="a part each for training, validation and test")
    what = "parts of the same classes" if {"train", "test"} <= set(source.splits) else "published parts"
    how = f"no {what}: 60 % training, 20 % validation, 20 % test images of every class (seed {SEED})"
    if source.name.startswith("chestx:"):
        how += (
            "; a patient may be in several parts, which train_val_list.txt and test_list.txt beside the table prevent"
        )
    return TransferSplits(train, validation, test, how)


def _caltech101(source: _Labels, rows: Tensor) -> TransferSplits:
    whole, _, test = _cut(
        source,
        rows,
        lambda _: (_CALTECH_TRAIN, 0),
        least=_CALTECH_TRAIN + 1,
        why="30 training images and one to test on",
    )
    train, validation = _hold_out(source, whole)
    return TransferSplits(
        train,
        validation,
        test,
        f"30 training images of every class (6 of them validation), the others test (seed {SEED}); without the background "
        "class, which makes 101 classes where some tables have 102",
    )


def _sun397(source: _Labels, rows: Tensor) -> TransferSplits:
    whole, test, _ = _cut(
        source, rows, lambda _: (_SUN_EACH, _SUN_EACH), least=2 * _SUN_EACH, why="50 training and 50 test images"
    )
    train, validation = _hold_out(source, whole)
    return TransferSplits(
        train,
        validation,
        test,
        f"50 training images of every class (10 of them validation) and 50 test images (seed {SEED}), NOT the published "
        "partition: Training_01.txt and Testing_01.txt are not beside the images",
    )


def _hold_out(source: _Labels, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Training and validation rows."""
    validation, _, train = _cut(
        source,
        rows,
        lambda count: (max(1, round(_HELD_OUT * count)), 0),
        least=2,
        why="one training and one validation image",
    )
    return train, validation


def _cut(
    source: _Labels, rows: Tensor, take: Callable[[int], tuple[int, int]], *, least: int, why: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Of every class so many images as `take` says of their number, so many more, and the rest; each in order."""
    generator = torch.Generator().manual_seed(SEED)
    parts: tuple[list[Tensor], list[Tensor], list[Tensor]] = ([], [], [])
    labels = source.labels[rows]
    order = labels.argsort(stable=True)
    classes, counts = torch.unique(labels, return_counts=True)
    for label, own in zip(classes.tolist(), torch.split(rows[order], counts.tolist()), strict=True):
        if len(own) < least:
            raise InputError(
                f"{source.name}: class {source.class_names[label]!r} has {len(own)} images and needs {least}, for {why}; "
                "add some or take the class out"
            )
        shuffled = own[torch.randperm(len(own), generator=generator)]
        first, second = take(len(own))
        for part, chosen in zip(
            parts, (shuffled[:first], shuffled[first : first + second], shuffled[first + second :]), strict=True
        ):
            part.append(chosen)
    one, two, rest = (torch.cat(part).sort().values for part in parts)
    return one, two, rest


_BY_NAME: Mapping[str, Callable[[_Labels, Tensor], TransferSplits]] = {
    "caltech101": _caltech101,
    "sun397": _sun397,
}
# Where "published" says too little.
_WHOSE: Mapping[str, str] = {"dtd": "published (partition 1)", "sun397": "published (partition 1)"}

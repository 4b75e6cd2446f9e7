"""What protocols have in common whose classifier is fitted, chosen and tested on three parts of a target."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from metatc2.data.splits import TransferSplits, label_splits, transfer_splits
from metatc2.data.streaming import Images, some_of
from metatc2.metrics.selection import RULE
from metatc2.transfer.protocols.base import Measured, Protocol, Subject
from metatc2.transfer.targets import Target

# Splits that stand for a whole source, whose published parts are then used.
_WHOLE = ("all", "labeled", "train", "test")


class ClassifierProtocol(Protocol):
    """A protocol that fits a classifier on training images, chooses on validation images and tests once."""

    facts: ClassVar[tuple[str, ...]] = ("way", "query", "head", "selection", "chosen")

    def check(self, target: Target) -> tuple[str, ...]:
        """See `Protocol.check`."""
        super().check(target)
        target_splits(target)
        return ()


def target_splits(target: Target) -> TransferSplits:
    """The published parts where the target is a whole source; a part of one (a script, a meta-split) is cut by itself.

    Raises:
        InputError: if there are fewer than two classes, or a class has too few images.
    """
    store = target.store
    if target.split in _WHOLE:
        return transfer_splits(store)
    rows = store.rows(target.split)
    splits = label_splits(store.labels[rows], target.name, store.class_names)
    return TransferSplits(rows[splits.train], rows[splits.validation], rows[splits.test], splits.how)


def inputs_and_labels(subject: Subject, splits: TransferSplits, of: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """Training inputs and labels, then those of validation and test: six tensors, as the classifiers take them.

    Args:
        subject: see `Subject`.
        splits: see `target_splits`.
        of: rows of the store to inputs, as features.
    """
    return [side for rows in splits[:3] for side in (of(rows), subject.labels(rows))]


def images_and_labels(
    subject: Subject, splits: TransferSplits
) -> tuple[Images, Tensor, Images, Tensor, Images, Tensor]:
    """As `inputs_and_labels`, of the images themselves; streamed ones stay on disk."""
    images = subject.target.store.images
    (train, y), (validation, v), (test, t) = ((some_of(images, rows), subject.labels(rows)) for rows in splits[:3])
    return train, y, validation, v, test, t


def per_class_values(correct: Tensor, labels: Tensor) -> Tensor:
    """Values of the images whose mean is the accuracy in each class, averaged over classes.

    Args:
        correct: float64 ``(Q,)``.
        labels: int64 ``(Q,)``.

    >>> per_class_values(torch.tensor([1.0, 1.0, 1.0, 0.0]), torch.tensor([0, 0, 0, 1])).mean().item()
    0.5
    """
    classes, own, counts = torch.unique(labels, return_inverse=True, return_counts=True)
    weight: Tensor = len(labels) / (len(classes) * counts[own].double())
    return correct * weight


def classified(
    subject: Subject,
    splits: TransferSplits,
    features: str,
    correct: Tensor,
    *,
    head: str = "linear",
    chosen: Mapping[str, float] | None = None,
    criterion: str = "accuracy",
    note: str = "",
    **facts: Any,
) -> Measured:
    """What is said of a classifier that was tested on the parts of a target.

    Args:
        subject: see `Subject`.
        splits: see `target_splits`.
        features: name of the encoder.
        correct: float64 ``(Q,)``, of the test images.
        head: the classifier.
        chosen: hyper-parameters that validation chose; None where nothing was chosen.
        criterion: what was best on validation.
        note: see `Measured`.
        facts: further facts.
    """
    metric, labels = subject.target.store.metric, subject.labels(splits.test)
    per_class = metric == "mean per class"
    selected: dict[str, Any] = {}
    if chosen is not None:
        selected = {"selection": f"{criterion} on validation, {RULE}; {splits.how}", "chosen": dict(chosen)}
    return Measured(
        features,
        per_class_values(correct, labels) if per_class else correct,
        torch.cat([splits.train, splits.validation, splits.test]),
        {"way": len(torch.unique(labels)), "query": len(splits.test), "head": head, **selected, **facts},
        metric=metric,
        note=note,
        strata=labels if per_class else None,
    )

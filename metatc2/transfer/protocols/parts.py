"""Training, validation and test images of a target, and what the rows of protocols that use them have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from metatc2.data.splits import TransferSplits, transfer_splits
from metatc2.data.store import ImageStore
from metatc2.metrics.selection import RULE
from metatc2.transfer.protocols.base import Measured, Subject
from metatc2.transfer.targets import Target

# Splits that stand for a whole source, whose published parts are then used.
_WHOLE = ("all", "labelled", "train", "test")


def parts(target: Target) -> TransferSplits:
    """The published parts where the target is a whole source; a part of one (a script, a meta-split) is cut by itself.

    Raises:
        InputError: if there are fewer than two classes, or a class has too few images.
    """
    store = target.store
    if target.split in _WHOLE:
        return transfer_splits(store)
    rows = store.rows(target.split)
    alone = ImageStore(
        target.name,
        torch.zeros(len(rows), 1, 1, 1, dtype=torch.uint8),
        store.labels[rows],
        class_names=store.class_names,
    )
    found = transfer_splits(alone)
    return TransferSplits(rows[found.train], rows[found.validation], rows[found.test], found.how)


def sides(subject: Subject, splits: TransferSplits, of: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """Training inputs and labels, then those of validation and test: six tensors, as the classifiers take them.

    Args:
        subject: see `Subject`.
        splits: see `parts`.
        of: rows of the store to inputs, features or images.
    """
    return [side for rows in splits[:3] for side in (of(rows), subject.labels(rows))]


def by_class(correct: Tensor, labels: Tensor) -> Tensor:
    """Values of the images whose mean is the accuracy in each class, averaged over classes.

    Args:
        correct: float64 ``(Q,)``.
        labels: int64 ``(Q,)``.

    >>> by_class(torch.tensor([1.0, 1.0, 1.0, 0.0]), torch.tensor([0, 0, 0, 1])).mean().item()
    0.5
    """
    classes, own, counts = torch.unique(labels, return_inverse=True, return_counts=True)
    weight: Tensor = len(labels) / (len(classes) * counts[own].double())
    return correct * weight


def classified(
    subject: Subject,
    splits: TransferSplits,
    correct: Tensor,
    *,
    protocol: str,
    features: str,
    chosen: Mapping[str, float],
    criterion: str = "accuracy",
    **facts: Any,
) -> Measured:
    """A row of a classifier that was fitted, chosen and tested on the parts of a target.

    Args:
        subject: see `Subject`.
        splits: see `parts`.
        correct: float64 ``(Q,)``, of the test images.
        protocol: its name.
        features: name of the encoder.
        chosen: hyper-parameters that validation chose.
        criterion: what was best on validation.
        facts: further fields of the row.
    """
    metric = subject.target.store.metric
    labels = subject.labels(splits.test)
    return Measured(
        {
            "protocol": protocol,
            "way": len(torch.unique(labels)),
            "shot": 0,
            "query": len(splits.test),
            "episodes": 0,
            "head": "linear",
            "selection": f"{criterion} on validation, {RULE}; {splits.how}",
            "metric": metric,
            "features": features,
            "chosen": dict(chosen),
            **facts,
        },
        by_class(correct, labels) if metric == "mean per class" else correct,
        torch.cat([splits.train, splits.validation, splits.test]),
        labels if metric == "mean per class" else None,
    )

"""Which images have labels: draws that every method shares, the smaller among the larger."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from metatc2.errors import InputError
from metatc2.ops.numbers import whole, wholes
from metatc2.transfer.protocols.base import target_seed
from metatc2.transfer.sampling import shuffled_within_classes


def check_labels(
    labels: Tensor, per_class: Sequence[int], name: str, class_names: Sequence[str] | None = None
) -> tuple[int, ...]:
    """The numbers of labels a class that were asked for, in ascending order, if every class has them.

    Args:
        labels: int64 ``(n,)``, of the images that labels are drawn from.
        per_class: numbers of labels a class.
        name: of the target.
        class_names: by label.

    Raises:
        InputError: if a number is below 1, there is one class, or one has fewer images.

    >>> check_labels(torch.tensor([0, 0, 1, 1, 1]), (2, 1), "toy")
    (1, 2)
    >>> check_labels(torch.tensor([0, 0, 1, 1, 1]), (5,), "toy")
    Traceback (most recent call last):
    metatc2.errors.InputError: fuse: toy: class 0 has 2 images to draw labels from and 5 were asked for; ask for at most 2 ...
    """
    asked = tuple(sorted(set(wholes(per_class, "fuse: labels per class", 1))))
    classes, counts = torch.unique(labels, return_counts=True)
    if len(classes) < 2:
        raise InputError(f"fuse: the images of {name} are all of one class; name a target with at least two classes")
    least = int(counts.min())
    if asked[-1] > least:
        label = int(classes[counts.argmin()])
        named = repr(class_names[label]) if class_names else str(label)
        raise InputError(
            f"fuse: {name}: class {named} has {least} images to draw labels from and {asked[-1]} were asked for; ask for at "
            f"most {least} (--labels-per-class), or name a larger target"
        )
    return asked


def label_draw(labels: Tensor, per_class: int, name: str, draw: int) -> Tensor:
    """Rows that have labels in a draw: so many of each class.

    They follow from labels, name and number of the draw alone, so every method, encoder and machine has the same; those of
    fewer labels are among those of more.

    Args:
        labels: int64 ``(n,)``.
        per_class: how many of each class, no more than it has.
        name: of the target.
        draw: its number.

    Returns:
        int64, ascending.

    >>> labels = torch.arange(30) % 3
    >>> few, many = label_draw(labels, 2, "toy", 0), label_draw(labels, 5, "toy", 0)
    >>> labels[few].bincount().tolist(), set(few.tolist()) <= set(many.tolist())
    ([2, 2, 2], True)
    """
    generator = torch.Generator().manual_seed(target_seed(name, "fusion", whole(draw, "fuse: draw", 0)))
    grouped, place = shuffled_within_classes(labels, generator)
    return grouped[place < per_class].sort().values

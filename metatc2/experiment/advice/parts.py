"""Images to pre-train on, to choose on and to test on, and draws of labels that all arms share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from metatc2.data import ImageStore
from metatc2.data.store import how_to_label
from metatc2.errors import InputError
from metatc2.experiment.advice.settings import LABELS_PER_CLASS, Asked
from metatc2.transfer import Target, target_splits
from metatc2.transfer.fusion.draws import label_draw

# Draws follow from labels and this alone, so the same images have labels wherever a folder lies.
_DRAWS = "advise"


@dataclass(frozen=True, eq=False)
class Parts:
    """What the images of a source are used for.

    Args:
        store: where they are.
        training: rows to pre-train on without labels, and to draw labels from.
        validation: rows that arms are chosen on; no encoder is trained on them.
        test: rows that every figure is measured on; likewise.
        how: they were cut.
        labels_per_class: numbers of labels, ascending.
        left_out: numbers that the images do not reach, where none were asked for.
    """

    store: ImageStore
    training: Tensor
    validation: Tensor
    test: Tensor
    how: str
    labels_per_class: tuple[int, ...]
    left_out: tuple[int, ...] = ()

    def labels(self, rows: Tensor) -> Tensor:
        """int64, of rows of the store."""
        return self.store.labels[rows]

    def rows_of(self, seed: int, draws: int) -> Tensor:
        """All rows, each once, whose features a seed needs: those with labels in some draw, of validation and of test."""
        given = [self.validation_draw(count, seed) for count in self.labels_per_class]
        given += [rows for count in self.labels_per_class for rows in self.test_draws(count, seed, draws)]
        return torch.as_tensor(torch.unique(torch.cat([*given, self.validation, self.test])))

    def validation_draw(self, per_class: int, seed: int) -> Tensor:
        """Rows that have labels where arms are chosen; no test draw of any seed has its number."""
        return self.training[label_draw(self.labels(self.training), per_class, f"{_DRAWS} validation", seed)]

    def test_draws(self, per_class: int, seed: int, draws: int) -> list[Tensor]:
        """Rows that have labels in each draw where arms are tested."""
        numbers = range(seed * draws, (seed + 1) * draws)
        return [self.training[label_draw(self.labels(self.training), per_class, _DRAWS, n)] for n in numbers]


def cut(store: ImageStore, asked: Asked) -> Parts:
    """The parts of a source by its own convention: published ones, else 60, 20 and 20 % of every class.

    Raises:
        InputError: if there are fewer than two classes, or a class has too few images for the labels asked for.

    >>> store = ImageStore("toy", torch.zeros(20, 1, 4, 4, dtype=torch.uint8), torch.arange(20) // 10)
    >>> parts = cut(store, Asked.checked("toy"))
    >>> parts.labels_per_class, parts.left_out, len(parts.test)
    ((1, 5), (20,), 4)
    """
    splits = target_splits(Target(store, asked.split, f"{store.name}:{asked.split}"))
    classes, counts = torch.unique(store.labels[splits.train], return_counts=True)
    if len(classes) < 2:
        name = store.class_names[int(classes[0])]
        raise InputError(
            f"advise: all images of {asked.source} are of one class, {name!r}; give two classes or more{how_to_label(store)}"
        )
    least, label = int(counts.min()), int(classes[counts.argmin()])
    wanted: Sequence[int] = asked.labels_per_class or LABELS_PER_CLASS
    kept = tuple(count for count in wanted if count <= least)
    left = tuple(count for count in wanted if count > least)
    if left and (asked.labels_per_class or not kept):
        raise InputError(
            f"advise: class {store.class_names[label]!r} of {asked.source} has {least} training images and {left[0]} labels a "
            f"class were asked for ({splits.how}); ask for at most {least} (--labels-per-class), or add images"
        )
    return Parts(store, splits.train, splits.validation, splits.test, splits.how, kept, left)

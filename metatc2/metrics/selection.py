"""The one rule by which every protocol chooses hyper-parameters on validation."""

from __future__ import annotations

import torch
from torch import Tensor

#: How a row of results names the rule.
RULE = "ties by cross-entropy, then the middle of the grid"

# Cross-entropies nearer than this, in nats, count as equal: validation images are too few to tell them apart, and where
# classes are separable all weak penalties come this near to 0.
SAME_LOSS = 1e-4
# Accuracies are sums of a few thousand ones in different orders.
_SAME_ACCURACY = 1e-9


def choose(accuracy: Tensor, loss: Tensor) -> tuple[int, ...] | None:
    """Place of the best point of a grid: highest accuracy, of equals lowest cross-entropy, of these the middle one.

    On validation of a few images many points of a grid have the same accuracy, and the first or last of them is an extreme
    that happens to do well there. The middle is taken along one axis after the other; of two middle points the one nearer to
    the middle of the grid, then the earlier.

    Args:
        accuracy: on validation, an axis for each hyper-parameter, each in ascending order of its values.
        loss: cross-entropy on validation, of the same shape; differences below 1e-4 nats are none.

    Returns:
        The index; None where no point has both figures finite.

    >>> choose(torch.tensor([0.5, 0.9, 0.9, 0.9]), torch.tensor([0.1, 0.4, 0.3, 0.5]))
    (2,)
    >>> choose(torch.ones(5), torch.zeros(5)), choose(torch.tensor([torch.nan, 0.2]), torch.zeros(2))
    ((2,), (1,))
    """
    accuracy, loss = accuracy.double().cpu(), loss.double().cpu()
    able = accuracy.isfinite() & loss.isfinite()
    if not bool(able.any()):
        return None
    tied = able & (accuracy >= accuracy[able].max() - _SAME_ACCURACY)
    tied &= loss <= loss[tied].min() + SAME_LOSS
    places = tied.nonzero()
    for axis, size in enumerate(accuracy.shape):
        places = places[places[:, axis] == _middle(places[:, axis].unique().tolist(), size)]
    return tuple(places[0].tolist())


def validation_loss(scores: Tensor, names: Tensor, labels: Tensor, *, per_class: bool = False) -> float:
    """Mean cross-entropy in nats over the images whose class the scores have a column for.

    Args:
        scores: ``(n, classes)``, logits.
        names: int64 ``(classes,)``, ascending: the classes that training had.
        labels: int64 ``(n,)``. Images of other classes are wrong under every candidate, and tell none apart.
        per_class: mean over classes of the mean within.

    >>> round(validation_loss(torch.zeros(2, 2), torch.tensor([3, 7]), torch.tensor([7, 9])), 4)
    0.6931
    """
    names, labels = names.to(scores.device), labels.to(scores.device)
    known = torch.isin(labels, names)
    if not bool(known.any()):
        return 0.0
    columns = torch.searchsorted(names, labels[known])
    each = -scores[known].double().log_softmax(1).gather(1, columns[:, None]).squeeze(1)
    if per_class:
        counts = columns.bincount(minlength=len(names))
        sums = each.new_zeros(len(names)).index_add(0, columns, each)
        return float((sums[counts > 0] / counts[counts > 0]).mean())
    return float(each.mean())


def _middle(values: list[int], size: int) -> int:
    low, high = values[(len(values) - 1) // 2], values[len(values) // 2]
    center = (size - 1) / 2
    return low if abs(low - center) <= abs(high - center) else high

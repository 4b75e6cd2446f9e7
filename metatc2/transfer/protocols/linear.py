"""The linear protocol: logistic regression on cached features, its penalty chosen on validation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from metatc2.errors import InputError
from metatc2.metrics.selection import choose, validation_loss
from metatc2.models.inputs import feature_sides, labels_of
from metatc2.ops.numbers import real, reals, whole
from metatc2.transfer._lbfgs import softmax_regression
from metatc2.transfer.protocols._classifier import ClassifierProtocol, classified, inputs_and_labels, target_splits
from metatc2.transfer.protocols.base import Measured, Subject
from metatc2.transfer.protocols.registry import register_protocol

L2_GRID: tuple[float, ...] = tuple(torch.logspace(-6, 5, 45, dtype=torch.float64).tolist())

# Enough wherever classes are few (all fits of `benchmarks/transfer_speed.py` need fewer). With hundreds of classes in a few
# dimensions the weakest values would take minutes each; the row says how many fits were cut.
_STEPS = 200
# Values of the grid solved at once: many make one large product, few begin close to their minimum.
_GROUP = 4
# Logits held at once in an array, of which about six live.
_GROUP_BYTES = 2**26


@dataclass(frozen=True, eq=False)
class LinearResult:
    """What the protocol found.

    Args:
        correct: float64 ``(Q,)``: 1 where a test row gets its class, else 0.
        accuracy: in [0, 1]: the mean of `correct`, or with ``per_class`` the mean over classes of the mean within.
        l2: chosen on validation, see `metatc2.metrics.selection.choose`.
        validation: ``(grid,)`` accuracies in the order of the grid, of the kind of `accuracy`.
        per_class: of which kind.
        converged: how many of the solutions (the grid and the refit) met the tolerance; see `softmax_regression`.
        validation_loss: ``(grid,)`` cross-entropies in nats, likewise.
    """

    correct: Tensor
    accuracy: float
    l2: float
    validation: Tensor
    per_class: bool
    converged: int
    validation_loss: Tensor


def linear(
    train: Tensor,
    train_labels: Tensor,
    validation: Tensor,
    validation_labels: Tensor,
    test: Tensor,
    test_labels: Tensor,
    *,
    grid: Sequence[float] = L2_GRID,
    per_class: bool = False,
    tolerance: float = 1e-7,
    steps: int = 1000,
) -> LinearResult:
    """Fit on train for every l2 of the grid, choose on validation, refit on train + validation, test once.

    As in Kornblith et al. 2019 (arXiv 1805.08974) and Chen et al. 2020 (SimCLR, arXiv 2002.05709, appendix B.8): 45
    log-spaced values in 1e-6...1e5. Minimized is the *sum* of cross-entropies plus ``l2/2 |W|²`` with a free bias. With three
    classes or more, scikit-learn's ``LogisticRegression`` has the same minimum at ``C = 1 / l2``. With two it has one vector
    w, where W here has two that share it, ``−w/2`` and ``w/2``: ``l2/2 |W|² = l2/4 |w|²``, so it is ``C = 2 / l2``. Features
    are used as they are, not standardized. A row weighs the same in the refit, so the chosen l2 is a little weaker there, as
    in scikit-learn at equal C.

    Chosen is the l2 with the highest accuracy on validation; of equals, that with the lowest cross-entropy there; of those
    within 1e-4 nats, the middle one.

    The path runs from strong to weak, each group of values beginning at the minimum of the one before, in the principal
    axes of the features, where curvature is nearly diagonal; with fewer rows than dimensions these are as few.

    Args:
        train: float ``(N, D)``.
        train_labels: int64 ``(N,)``.
        validation: float ``(V, D)``.
        validation_labels: int64 ``(V,)``.
        test: float ``(Q, D)``.
        test_labels: int64 ``(Q,)``; a class unknown to train and validation is an error.
        grid: values of l2, all above 0.
        per_class: mean per-class accuracy, in the choice too (Pets, Flowers, Caltech-101, Aircraft).
        tolerance: see `softmax_regression`.
        steps: of L-BFGS for one group of values, at most; weak values of data with many classes and few dimensions meet it,
            and `LinearResult.converged` says how many fits did not.

    Raises:
        InputError: if shapes do not fit, train has one class, l2 is not positive or features are not finite.

    >>> x, y = torch.tensor([[-1.0], [-2.0], [1.0], [2.0]]), torch.tensor([3, 3, 8, 8])
    >>> linear(x, y, x, y, x, y, grid=(0.1, 1.0)).accuracy
    1.0
    """
    sides = (("train", train, train_labels), ("validation", validation, validation_labels), ("test", test, test_labels))
    (train, train_labels), (validation, validation_labels), (test, test_labels) = _check(sides)
    grid = reals(grid, "linear: grid", above=0, fix="; use e.g. L2_GRID")
    tolerance, steps = real(tolerance, "linear: tolerance", above=0), whole(steps, "linear: steps", 1)
    names = torch.unique(torch.cat([train_labels, validation_labels]))
    if not bool(torch.isin(test_labels, names).all()):
        raise InputError("linear: test has classes that train and validation lack; split each class over all three")
    fitting, choosing = (torch.searchsorted(names, labels) for labels in (train_labels, validation_labels))

    order = sorted(range(len(grid)), key=lambda i: -grid[i])
    axes = _Axes(train)
    rows, validation_rows = axes.rotate(train), axes.rotate(validation)
    size = max(1, min(_GROUP, _GROUP_BYTES // (len(train) * len(names) * rows.element_size())))
    start: Tensor | None = None
    accuracies, losses = torch.zeros(2, len(grid), dtype=torch.float64)
    known = torch.unique(fitting)
    converged = 0
    weights: dict[int, Tensor] = {}
    for first in range(0, len(order), size):
        some = order[first : first + size]
        l2 = torch.tensor([grid[i] for i in some], dtype=torch.float64, device=rows.device)
        begin = None if start is None else start.expand(len(some), -1, -1)
        w, met = softmax_regression(
            rows[None], fitting[None], len(names), l2, start=begin, tolerance=tolerance, steps=steps
        )
        start = w[-1:]
        converged += int(met.sum())
        for i, one in zip(some, w, strict=True):
            scores = _scores(validation_rows, one)
            accuracies[i] = _accuracy(scores.argmax(1) == choosing, validation_labels, per_class)
            # A class that only validation has gets no score that means anything.
            losses[i] = validation_loss(scores[:, known], known, choosing, per_class=per_class)
            weights[i] = one
    # Ascending, and each value once, as the rule for equals wants it.
    ascending = sorted({grid[i]: i for i in order}.values(), key=lambda i: grid[i])
    chosen = choose(accuracies[ascending], losses[ascending])
    assert chosen is not None  # features are finite, and so is what is computed from them
    best = ascending[chosen[0]]

    both = torch.cat([train, validation])
    refit_axes = _Axes(both)
    w, met = softmax_regression(
        refit_axes.rotate(both)[None],
        torch.cat([fitting, choosing])[None],
        len(names),
        torch.tensor([grid[best]], dtype=torch.float64, device=rows.device),
        start=refit_axes.converted(weights[best], axes)[None],
        tolerance=tolerance,
        steps=steps,
    )
    right = names[_scores(refit_axes.rotate(test), w[0]).argmax(1)] == test_labels
    return LinearResult(
        correct=right.double().cpu(),
        accuracy=_accuracy(right, test_labels, per_class),
        l2=grid[best],
        validation=accuracies,
        per_class=per_class,
        converged=converged + int(met.sum()),
        validation_loss=losses,
    )


class _Axes:
    """Principal axes of the rows; the minimum turns with them, since the penalty is round and the bias free."""

    def __init__(self, rows: Tensor) -> None:
        self.mean = rows.mean(0)
        centered = rows - self.mean
        if len(rows) < rows.shape[1]:
            self.axes = torch.linalg.svd(centered, full_matrices=False).Vh.T.contiguous()
        else:
            self.axes = torch.linalg.eigh((centered.T @ centered).double()).eigenvectors.to(rows.dtype)

    def rotate(self, rows: Tensor) -> Tensor:
        turned: Tensor = (rows - self.mean) @ self.axes
        return turned

    def converted(self, w: Tensor, other: _Axes) -> Tensor:
        """Weights ``(r' + 1, C)`` in `other` axes, in these."""
        plain = other.axes @ w[:-1]
        bias = w[-1] + (self.mean - other.mean) @ plain
        return torch.cat([self.axes.T @ plain, bias[None]])


def _scores(rows: Tensor, w: Tensor) -> Tensor:
    scores: Tensor = rows @ w[:-1] + w[-1]
    return scores


def _accuracy(right: Tensor, labels: Tensor, per_class: bool) -> float:
    if not per_class:
        return float(right.double().mean())
    _, classes, counts = torch.unique(labels, return_inverse=True, return_counts=True)
    return float((classes.bincount(weights=right.double()) / counts).mean())


def _check(sides: Sequence[tuple[str, Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    """Features in one precision, and labels."""
    rows = feature_sides({f"linear: {name}": features for name, features, _ in sides})
    for (name, _, _), own in zip(sides, rows, strict=True):
        if own.shape[1] != rows[0].shape[1]:
            raise InputError(f"linear: {name} must be (N, D), as wide as train, got {tuple(own.shape)}")
    labels = [
        labels_of(given, f"linear: {name}_labels", len(own)) for (name, _, given), own in zip(sides, rows, strict=True)
    ]
    if len(torch.unique(labels[0])) < 2:
        raise InputError("linear: train has one class, and there is nothing to tell apart; name another target")
    return list(zip(rows, labels, strict=True))


@register_protocol("linear")
@dataclass(frozen=True, kw_only=True)
class Linear(ClassifierProtocol):
    """Logistic regression on frozen features, its L2 chosen on validation: one row for each encoder; see `linear`."""

    def run(self, subject: Subject) -> Iterator[Measured]:
        """See `Protocol.run`."""
        splits, metric = target_splits(subject.target), subject.target.store.metric
        for name in subject.names:
            six = inputs_and_labels(subject, splits, partial(subject.table.at, name))
            result = linear(*six, per_class=metric == "mean per class", steps=_STEPS)
            fits = len(result.validation) + 1
            cut = fits - result.converged
            yield classified(
                subject,
                splits,
                name,
                result.correct,
                chosen={"l2": float(result.l2)},
                criterion=metric,
                note=f"{cut} of {fits} fits ended at the limit of steps" if cut else "",
            )

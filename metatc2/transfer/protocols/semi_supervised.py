"""Learning from a fraction of the labels, on frozen features."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from metatc2.errors import InputError
from metatc2.metrics.selection import choose, validation_loss
from metatc2.models.inputs import feature_sides, labels_of
from metatc2.ops.numbers import real, reals, whole
from metatc2.transfer.protocols._classifier import ClassifierProtocol, classified, inputs_and_labels, target_splits
from metatc2.transfer.protocols.base import Measured, Subject
from metatc2.transfer.protocols.linear import L2_GRID
from metatc2.transfer.protocols.registry import register_protocol
from metatc2.transfer.sampling import shuffled_within_classes

FRACTIONS = (0.01, 0.1)

# Rounds of L-BFGS for one value; each starts where the stronger one before it ended.
_ROUNDS = 300


@dataclass(frozen=True, eq=False)
class SemiSupervisedResult:
    """What was learned from a fraction of the labels.

    Args:
        correct: float64 ``(Q,)``: 1 where a test image gets its class, else 0.
        predicted: int64 ``(Q,)``: the class it gets, for per-class figures.
        rows: int64: the training images whose labels were seen.
        fraction: of the labels, as asked for; a class has one at least.
        chosen: hyper-parameters by name, chosen on validation.
        validation: accuracy on validation by the values of `chosen`, in its order; NaN where training diverged.
        validation_loss: cross-entropy on validation, in nats, likewise.
    """

    correct: Tensor
    predicted: Tensor
    rows: Tensor
    fraction: float
    chosen: Mapping[str, float]
    validation: Mapping[tuple[float, ...], float]
    validation_loss: Mapping[tuple[float, ...], float]

    @property
    def accuracy(self) -> float:
        """Mean of `correct`."""
        return float(self.correct.mean())


def label_fraction(labels: Tensor, fraction: float, *, seed: int = 0) -> Tensor:
    """Rows that keep their labels: of each class the share `fraction`, rounded, and one at least.

    They follow from labels, fraction and seed alone, so they are the same for every encoder; the rows of a smaller
    fraction are among those of a larger one.

    Args:
        labels: int64 ``(N,)`` of the training images.
        fraction: above 0, at most 1.
        seed: of the draw.

    Returns:
        int64, ascending.

    Raises:
        InputError: if there is no label or the fraction is out of range.

    >>> labels = torch.tensor([0] * 100 + [1] * 40 + [2])
    >>> labels[label_fraction(labels, 0.1)].bincount().tolist()
    [10, 4, 1]
    """
    labels = labels_of(labels, "semi-supervised: labels").cpu()
    if not len(labels):
        raise InputError("semi-supervised: needs labels (N,), at least one, got none")
    fraction = real(fraction, "semi-supervised: fraction", above=0, most=1, fix="; 1 % is 0.01")
    seed = whole(seed, "semi-supervised: seed", 0)
    grouped, place = shuffled_within_classes(labels, torch.Generator().manual_seed(seed))
    counts = torch.unique_consecutive(labels[grouped], return_counts=True)[1]
    # A half rounds up: what torch does with it differs between odd and even.
    kept = (counts.double() * fraction + 0.5 + 1e-9).floor().long().clamp(min=1)
    return grouped[place < kept.repeat_interleave(counts)].sort().values


def semi_supervised_linear(
    train: Tensor,
    train_labels: Tensor,
    validation: Tensor,
    validation_labels: Tensor,
    test: Tensor,
    test_labels: Tensor,
    *,
    fraction: float,
    seed: int = 0,
    l2: Sequence[float] = L2_GRID,
) -> SemiSupervisedResult:
    """Logistic regression on frozen features of the labeled fraction, its L2 chosen on validation.

    Minimized is ``Σ cross-entropy + l2/2 · |w|²`` by scikit-learn's L-BFGS at ``C = 1 / l2``, from the strongest value to the
    weakest, each from the solution before it; two classes share one vector w there, which is the minimum of
    `metatc2.transfer.protocols.linear.linear` at twice the l2. The value with the best validation accuracy is taken, of equals
    the one with the lowest cross-entropy there, of those within 1e-4 nats the middle one. There is no second training on
    validation images: their labels are usually many more than the fraction, and would no longer be it.

    Args:
        train: float ``(N, D)``, features of all training images; only those of `label_fraction` are used.
        train_labels: int64 ``(N,)``.
        validation: float ``(V, D)``.
        validation_labels: int64 ``(V,)``.
        test: float ``(Q, D)``.
        test_labels: int64 ``(Q,)``.
        fraction: see `label_fraction`.
        seed: of the labeled subset; the same for every encoder that is to be compared.
        l2: values to choose from.

    Raises:
        InputError: if shapes or values do not fit, features are not finite, or there is one class.

    >>> x, y = torch.eye(2).repeat(50, 1), torch.arange(100) % 2
    >>> result = semi_supervised_linear(x, y, x[:10], y[:10], x[10:20], y[10:20], fraction=0.1, l2=(0.1, 1.0))
    >>> result.accuracy, len(result.rows), result.chosen
    (1.0, 10, {'l2': 0.1})
    """
    sides = (("train", train, train_labels), ("validation", validation, validation_labels), ("test", test, test_labels))
    train, validation, test = feature_sides({f"semi-supervised {name}": features for name, features, _ in sides})
    for name, features in (("validation", validation), ("test", test)):
        if features.shape[1] != train.shape[1]:
            raise InputError(f"semi-supervised: {name} must be (N, D), D as in train, got {tuple(features.shape)}")
    train_labels = labels_of(train_labels, "semi-supervised: train_labels", len(train))
    validation_labels = labels_of(validation_labels, "semi-supervised: validation_labels", len(validation)).cpu()
    test_labels = labels_of(test_labels, "semi-supervised: test_labels", len(test))
    rows = label_fraction(train_labels, fraction, seed=seed)
    x, y = train[rows.to(train.device)].double().cpu().numpy(), train_labels.cpu()[rows].numpy()
    if len(np.unique(y)) < 2:
        raise InputError("semi-supervised: the training images are all of one class; give at least two classes")
    model = LogisticRegression(warm_start=True, max_iter=_ROUNDS, tol=1e-6)
    values = sorted(set(reals(l2, "semi-supervised: l2", above=0)))
    names, predictions = torch.unique(train_labels.cpu()[rows]), {}
    accuracies, losses = torch.zeros(2, len(values), dtype=torch.float64)
    inputs, test_inputs = validation.double().cpu().numpy(), test.double().cpu().numpy()
    with warnings.catch_warnings():
        # At the weakest values separable classes have no minimum to converge to.
        warnings.simplefilter("ignore", ConvergenceWarning)
        for i in reversed(range(len(values))):
            model.set_params(C=1 / values[i]).fit(x, y)
            accuracies[i] = float((model.predict(inputs) == validation_labels.numpy()).mean())
            losses[i] = validation_loss(_logits(model, inputs), names, validation_labels)
            predictions[i] = model.predict(test_inputs)
    place = choose(accuracies, losses)
    assert place is not None  # features are finite, and so is what is computed from them
    predicted = torch.from_numpy(predictions[place[0]])
    return SemiSupervisedResult(
        (predicted == test_labels.cpu()).double(),
        predicted,
        rows,
        fraction,
        {"l2": values[place[0]]},
        *(by_value([(value,) for value in values], each) for each in (accuracies, losses)),
    )


def _logits(model: LogisticRegression, inputs: NDArray[np.float64]) -> Tensor:
    """``(n, classes)``; for two classes scikit-learn has the second's alone."""
    logits = torch.from_numpy(model.decision_function(inputs)).double()
    return torch.stack([torch.zeros_like(logits), logits], 1) if logits.ndim == 1 else logits


def by_value(values: Sequence[tuple[float, ...]], figures: Tensor) -> dict[tuple[float, ...], float]:
    """Figures of a grid by the values at each of its points."""
    return dict(zip(values, figures.flatten().tolist(), strict=True))


def fraction_words(fraction: float) -> str:
    """As a row's setting has it.

    >>> fraction_words(0.1)
    '10 % of the labels'
    """
    return f"{100 * fraction:g} % of the labels"


@register_protocol("semi-supervised")
@dataclass(frozen=True, kw_only=True)
class SemiSupervised(ClassifierProtocol):
    """A linear classifier on frozen features, from a fraction of the labels: one row for each fraction and encoder.

    See `semi_supervised_linear`.

    Args:
        fractions: shares of the labels; 1 % is 0.01.

    Raises:
        InputError: if a fraction is not above 0 and at most 1.
    """

    facts = (*ClassifierProtocol.facts, "setting")

    fractions: Sequence[Annotated[float, Field(gt=0, le=1)]] = FRACTIONS

    def run(self, subject: Subject) -> Iterator[Measured]:
        """See `Protocol.run`."""
        splits = target_splits(subject.target)
        for fraction in self.fractions:
            for name in subject.names:
                six = inputs_and_labels(subject, splits, partial(subject.table.at, name))
                result = semi_supervised_linear(*six, fraction=fraction)
                yield classified(
                    subject, splits, name, result.correct, chosen=result.chosen, setting=fraction_words(fraction)
                )

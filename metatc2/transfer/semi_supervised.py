"""Learning from 1 % or 10 % of the labels: on frozen features, or by fine-tuning the encoder."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from metatc2.augment import Views
from metatc2.errors import InputError
from metatc2.metrics.selection import choose, validation_loss
from metatc2.models.inputs import feature_sides, images_of, labels_of
from metatc2.ops.numbers import real, reals, whole
from metatc2.transfer.fine_tune import RATES, STEPS, WEIGHT_DECAYS, fine_tune
from metatc2.transfer.linear import L2_GRID

FRACTIONS = (0.01, 0.1)

# Rounds of L-BFGS for one value; each starts where the stronger one before it ended.
_ROUNDS = 300


@dataclass(frozen=True, eq=False)
class SemiSupervised:
    """What was learnt from a fraction of the labels.

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
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    grouped = shuffled[labels[shuffled].argsort(stable=True)]
    counts = torch.unique_consecutive(labels[grouped], return_counts=True)[1]
    place = torch.arange(len(grouped)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
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
) -> SemiSupervised:
    """Logistic regression on frozen features of the labelled fraction, its L2 chosen on validation.

    Minimised is ``Σ cross-entropy + l2/2 · |w|²`` by scikit-learn's L-BFGS at ``C = 1 / l2``, from the strongest value to the
    weakest, each from the solution before it; two classes share one vector w there, which is the minimum of
    `metatc2.transfer.linear.linear` at twice the l2. The value with the best validation accuracy is taken, of equals the one
    with the lowest cross-entropy there, of those within 1e-4 nats the middle one. There is no second training on
    validation images: their labels are usually many more than the fraction, and would no longer be it.

    Args:
        train: float ``(N, D)``, features of all training images; only those of `label_fraction` are used.
        train_labels: int64 ``(N,)``.
        validation: float ``(V, D)``.
        validation_labels: int64 ``(V,)``.
        test: float ``(Q, D)``.
        test_labels: int64 ``(Q,)``.
        fraction: see `label_fraction`.
        seed: of the labelled subset; the same for every encoder that is to be compared.
        l2: values to choose from.

    Raises:
        InputError: if shapes or values do not fit, features are not finite, or there is one class.

    >>> x, y = torch.eye(2).repeat(50, 1), torch.arange(100) % 2
    >>> found = semi_supervised_linear(x, y, x[:10], y[:10], x[10:20], y[10:20], fraction=0.1, l2=(0.1, 1.0))
    >>> found.accuracy, len(found.rows), found.chosen
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
    inputs, asked = validation.double().cpu().numpy(), test.double().cpu().numpy()
    with warnings.catch_warnings():
        # At the weakest values separable classes have no minimum to converge to.
        warnings.simplefilter("ignore", ConvergenceWarning)
        for i in reversed(range(len(values))):
            model.set_params(C=1 / values[i]).fit(x, y)
            accuracies[i] = float((model.predict(inputs) == validation_labels.numpy()).mean())
            losses[i] = validation_loss(_logits(model, inputs), names, validation_labels)
            predictions[i] = model.predict(asked)
    place = choose(accuracies, losses)
    assert place is not None  # features are finite, and so is what is computed from them
    found = torch.from_numpy(predictions[place[0]])
    return SemiSupervised(
        (found == test_labels.cpu()).double(),
        found,
        rows,
        fraction,
        {"l2": values[place[0]]},
        *(_by_value([(value,) for value in values], each) for each in (accuracies, losses)),
    )


def _logits(model: LogisticRegression, inputs: NDArray[np.float64]) -> Tensor:
    """``(n, classes)``; for two classes scikit-learn has the second's alone."""
    found = torch.from_numpy(model.decision_function(inputs)).double()
    return torch.stack([torch.zeros_like(found), found], 1) if found.ndim == 1 else found


def semi_supervised_fine_tune(
    encoder: nn.Module,
    train: Tensor,
    train_labels: Tensor,
    validation: Tensor,
    validation_labels: Tensor,
    test: Tensor,
    test_labels: Tensor,
    *,
    fraction: float,
    generator: torch.Generator,
    seed: int = 0,
    steps: int = STEPS,
    batch: int = 64,
    rates: Sequence[float] = RATES,
    weight_decays: Sequence[float] = WEIGHT_DECAYS,
    views: Views | None = None,
    batch_norm: str = "kept",
    device: torch.device | str | None = None,
) -> SemiSupervised:
    """Fine-tune the encoder on the labelled fraction alone; learning rate and weight decay chosen on validation.

    There is no second training on validation images, see `semi_supervised_linear`.

    Args:
        encoder: see `fine_tune`; it is copied, never changed.
        train: uint8 ``(N, C, H, W)``; only the images of `label_fraction` are used.
        train_labels: int64 ``(N,)``.
        validation: uint8 ``(V, C, H, W)``.
        validation_labels: int64 ``(V,)``.
        test: uint8 ``(Q, C, H, W)``.
        test_labels: int64 ``(Q,)``.
        fraction: see `label_fraction`.
        generator: on the CPU; decides order, augmentation and dropout.
        seed: of the labelled subset; the same for every encoder that is to be compared.
        steps, batch, rates, weight_decays, views, batch_norm, device: see `fine_tune`.

    Raises:
        InputError: as `fine_tune` and `label_fraction`.
    """
    images = images_of(train, "semi-supervised: train images")
    rows = label_fraction(train_labels, fraction, seed=seed)
    if len(images) != len(train_labels):
        raise InputError(
            f"semi-supervised: train and train_labels must have one label an image, got {len(images)} and {len(train_labels)}"
        )
    found = fine_tune(
        encoder,
        images[rows.to(images.device)],
        labels_of(train_labels, "semi-supervised: train_labels").cpu()[rows],
        validation,
        validation_labels,
        test,
        test_labels,
        generator=generator,
        steps=steps,
        batch=batch,
        rates=rates,
        weight_decays=weight_decays,
        views=views,
        batch_norm=batch_norm,
        refit=False,
        device=device,
    )
    pairs = list(product(found.rates, found.weight_decays))
    figures = (_by_value(pairs, each) for each in (found.validation, found.validation_loss))
    chosen = {"learning_rate": found.learning_rate, "weight_decay": found.weight_decay}
    return SemiSupervised(found.correct, found.predicted, rows, fraction, chosen, *figures)


def _by_value(values: Sequence[tuple[float, ...]], figures: Tensor) -> dict[tuple[float, ...], float]:
    return dict(zip(values, figures.flatten().tolist(), strict=True))

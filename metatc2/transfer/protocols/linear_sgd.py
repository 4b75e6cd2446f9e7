"""The linear probe trained by SGD that many published tables use; here on cached features of images as they are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from metatc2.errors import InputError
from metatc2.metrics.selection import choose, validation_loss
from metatc2.models.inputs import feature_sides, labels_of
from metatc2.ops.numbers import real, reals, whole
from metatc2.transfer.protocols._classifier import ClassifierProtocol, classified, inputs_and_labels, target_splits
from metatc2.transfer.protocols.base import Measured, Subject, target_seed
from metatc2.transfer.protocols.registry import register_protocol

# Base learning rates, each for batches of 256 of standardized features. Probes of features as they are, which are small,
# go from 0.1 (SimSiam) to 30 (MoCo).
RATES = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
SCHEDULES = ("cosine", "steps")

_MOMENTUM = 0.9
_RULE_BATCH = 256


@dataclass(frozen=True, eq=False)
class LinearSGDResult:
    """What the probe found.

    Args:
        correct: float64 ``(Q,)``: 1 where a test image gets its class, else 0.
        predicted: int64 ``(Q,)``: the class it gets, for per-class figures.
        learning_rate: the base rate that validation chose.
        validation: accuracy on validation by base rate; NaN where training diverged.
        validation_loss: cross-entropy on validation, in nats, likewise.
    """

    correct: Tensor
    predicted: Tensor
    learning_rate: float
    validation: Mapping[float, float]
    validation_loss: Mapping[float, float]

    @property
    def accuracy(self) -> float:
        """Mean of `correct`."""
        return float(self.correct.mean())


def linear_sgd(
    train: Tensor,
    train_labels: Tensor,
    validation: Tensor,
    validation_labels: Tensor,
    test: Tensor,
    test_labels: Tensor,
    *,
    generator: torch.Generator,
    epochs: int = 90,
    batch: int = 256,
    rates: Sequence[float] = RATES,
    weight_decay: float = 0.0,
    schedule: str = "cosine",
    standardize: bool = True,
    refit: bool = True,
) -> LinearSGDResult:
    """Softmax regression by SGD with momentum 0.9 (the probe of He et al. 2020, arXiv 1911.05722, section 4.1).

    The learning rate of a step is ``base · batch / 256`` times the schedule, by step. All base rates are trained side by
    side on the same batches, the one with the best validation accuracy is taken (of equals the one with the lowest
    cross-entropy there, of those within 1e-4 nats the middle one), and the test images are classified once. The published
    probes crop and flip their training images anew in every epoch; this one sees cached features of images as they are, so
    its figures are a little below theirs: do not mix the two in a table.

    Args:
        train: float ``(N, D)``, features of a frozen encoder.
        train_labels: int64 ``(N,)``.
        validation: float ``(V, D)``; what hyper-parameters are chosen on.
        validation_labels: int64 ``(V,)``.
        test: float ``(Q, D)``.
        test_labels: int64 ``(Q,)``; a class that training lacks counts as wrong.
        generator: on the CPU; decides the order of the images, nothing else (weights start at 0).
        epochs: passes over the training images.
        batch: images a step; the last batch of an epoch may be smaller.
        rates: base learning rates to choose from.
        weight_decay: of weights and bias, as `torch.optim.SGD` has it.
        schedule: ``"cosine"`` to 0, or ``"steps"``: a tenth after 2/3 and again after 8/9 of the epochs (60 and 80 of 90).
        standardize: whether each dimension gets mean 0 and deviation 1 by the training images, so that one set of rates
            suits every encoder; without, give `rates` that suit the features. (A BatchNorm without affine parameters in
            front of the probe does nearly the same.)
        refit: whether the chosen rate trains once more, on training and validation images together.

    Raises:
        InputError: if shapes or numbers do not fit, features are not finite, or training diverged at every rate.

    >>> x, y = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).repeat(20, 1), torch.arange(40) % 2
    >>> result = linear_sgd(x, y, x, y, x[:4], y[:4], generator=torch.Generator().manual_seed(0), epochs=2)
    >>> result.correct.tolist()
    [1.0, 1.0, 1.0, 1.0]
    """
    sides = (("train", train, train_labels), ("validation", validation, validation_labels), ("test", test, test_labels))
    train, validation, test = feature_sides({f"linear-SGD {name}": features for name, features, _ in sides})
    for name, features in (("validation", validation), ("test", test)):
        if features.shape[1] != train.shape[1]:
            raise InputError(f"linear-SGD: {name} must be (N, D), D as in train, got {tuple(features.shape)}")
    train_labels = labels_of(train_labels, "linear-SGD: train_labels", len(train))
    validation_labels = labels_of(validation_labels, "linear-SGD: validation_labels", len(validation))
    test_labels = labels_of(test_labels, "linear-SGD: test_labels", len(test))
    epochs, batch = whole(epochs, "linear-SGD: epochs", 1), whole(batch, "linear-SGD: batch", 1)
    weight_decay = real(weight_decay, "linear-SGD: weight_decay", least=0)
    if schedule not in SCHEDULES:
        raise InputError(f"linear-SGD: schedule must be one of {', '.join(SCHEDULES)}, got {schedule!r}")
    tried = sorted(set(reals(rates, "linear-SGD: rates", above=0)))
    options = _Options(epochs, batch, weight_decay, schedule, standardize)
    probe = _fit(train, train_labels, tried, options, generator)
    accuracies, losses = probe.measured(validation, validation_labels)
    place = choose(accuracies, losses)
    if place is None:
        raise InputError(f"linear-SGD: training diverged at every rate of {tried}; give smaller ones")
    best = place[0]
    if refit:
        both = torch.cat([train, validation]), torch.cat([train_labels, validation_labels])
        probe, chosen = _fit(*both, [tried[best]], options, generator), 0
    else:
        chosen = best
    predicted = probe.predict(test)[chosen].cpu()
    correct = (predicted == test_labels.cpu()).double()
    figures = (dict(zip(tried, column.tolist(), strict=True)) for column in (accuracies, losses))
    return LinearSGDResult(correct, predicted, tried[best], *figures)


@dataclass(frozen=True)
class _Options:
    epochs: int
    batch: int
    weight_decay: float
    schedule: str
    standardize: bool

    def decay(self, step: int, steps: int) -> float:
        """Share of the learning rate at a step of an epoch count that makes `steps`."""
        if self.schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * step / steps))
        epoch = step * self.epochs // steps
        return 0.1 ** ((3 * epoch >= 2 * self.epochs) + (9 * epoch >= 8 * self.epochs))


@dataclass(frozen=True, eq=False)
class _Probes:
    """One probe a learning rate: weight ``(D, G, classes)`` and bias ``(G, classes)`` on ``(x − mean) · scale``."""

    names: Tensor
    mean: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor

    def predict(self, features: Tensor) -> Tensor:
        """Classes ``(G, n)``."""
        predicted: Tensor = self.names[self.scores(features).argmax(2)]
        return predicted.T

    def scores(self, features: Tensor) -> Tensor:
        """Logits ``(n, G, classes)``."""
        return _scores((features - self.mean) * self.scale, self.weight, self.bias)

    def measured(self, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Accuracies and cross-entropies, float64 ``(G,)`` each, on the CPU; NaN where weights are not finite."""
        usable = self.weight.isfinite().all(2).all(0) & self.bias.isfinite().all(1)
        labels, scores = labels.to(self.names.device), self.scores(features)
        right = (self.names[scores.argmax(2)] == labels[:, None]).double().mean(0)
        losses = right.new_tensor([validation_loss(one, self.names, labels) for one in scores.unbind(1)])
        return tuple(each.masked_fill(~usable, math.nan).cpu() for each in (right, losses))  # type: ignore[return-value]


@torch.no_grad()
def _fit(
    features: Tensor, labels: Tensor, rates: Sequence[float], options: _Options, generator: torch.Generator
) -> _Probes:
    names, classes = torch.unique(labels.to(features.device), return_inverse=True)
    mean, scale = features.new_zeros(features.shape[1]), features.new_ones(features.shape[1])
    if options.standardize:
        mean, deviation = features.mean(0), features.std(0, correction=0)
        # A dimension that is constant says nothing; it is left alone rather than divided by its rounding.
        scale = torch.where(deviation > 1e-6 * features.abs().amax(0), 1 / deviation, 0.0)
        features = (features - mean) * scale
    count, width = features.shape
    rate = torch.tensor(rates, device=features.device)[:, None] * options.batch / _RULE_BATCH
    weight, bias = features.new_zeros(width, len(rates), len(names)), features.new_zeros(len(rates), len(names))
    weight_speed, bias_speed = torch.zeros_like(weight), torch.zeros_like(bias)
    steps, step = options.epochs * math.ceil(count / options.batch), 0
    for _ in range(options.epochs):
        for rows in torch.split(torch.randperm(count, generator=generator).to(features.device), options.batch):
            x = features[rows]
            # The gradient of the mean cross-entropy with respect to the scores: softmax less the truth.
            error = _scores(x, weight, bias).softmax(2)
            error[torch.arange(len(rows), device=x.device), :, classes[rows]] -= 1
            error /= len(rows)
            gradient = (x.T @ error.flatten(1)).view_as(weight)
            weight_speed = _MOMENTUM * weight_speed + gradient + options.weight_decay * weight
            bias_speed = _MOMENTUM * bias_speed + error.sum(0) + options.weight_decay * bias
            now = rate * options.decay(step, steps)
            weight, bias = weight - now * weight_speed, bias - now * bias_speed
            step += 1
    return _Probes(names, mean, scale, weight, bias)


def _scores(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``(n, G, classes)``; all probes in one product."""
    return (rows @ weight.flatten(1)).view(len(rows), *bias.shape) + bias


@register_protocol("linear-sgd")
@dataclass(frozen=True, kw_only=True)
class LinearSGD(ClassifierProtocol):
    """The linear probe trained by SGD, its learning rate chosen on validation: one row for each encoder; see `linear_sgd`."""

    def run(self, subject: Subject) -> Iterator[Measured]:
        """See `Protocol.run`."""
        splits = target_splits(subject.target)
        for name in subject.names:
            six = inputs_and_labels(subject, splits, partial(subject.table.at, name))
            # The same order of images for every encoder.
            generator = torch.Generator().manual_seed(target_seed(subject.target.name, self.name))
            result = linear_sgd(*six, generator=generator)
            yield classified(subject, splits, name, result.correct, chosen={"learning rate": result.learning_rate})

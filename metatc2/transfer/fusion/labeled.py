"""The labels that are given, with the features of several encoders: all that a method of fusion learns from."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from metatc2.errors import InputError
from metatc2.metrics.selection import choose
from metatc2.models.inputs import feature_sides, labels_of
from metatc2.ops.numbers import whole
from metatc2.transfer.sampling import shuffled_within_classes

#: Folds of the cross-validation inside the labels given; as many as a class has labels where it has fewer.
FOLDS = 3
#: Candidates of C for the logistic regression on one encoder, on features whose mean squared length is 1.
C_GRID = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
#: Taken where a class has one label, so that there is nothing to validate on.
C_DEFAULT = 10.0
_ROUNDS = 300


@dataclass(frozen=True, eq=False)
class Fitted:
    """What was learned from labels.

    Args:
        logits: features of other images, ``(q, d_k)`` an encoder, not standardized, to scores ``(q, classes)``.
        weights: the same features to weights over encoders ``(q, K)``; None where a method has none.
        chosen: hyper-parameters by name.
    """

    logits: Callable[[Sequence[Tensor]], Tensor]
    weights: Callable[[Sequence[Tensor]], Tensor] | None = None
    chosen: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Alone:
    """A logistic regression on the features of one encoder.

    Args:
        logits: standardized features ``(q, d)`` to scores ``(q, classes)``.
        c: inverse strength of the penalty, chosen by cross-validation.
        accuracy: by cross-validation, at the chosen c; NaN where there was none.
        loss: cross-entropy by cross-validation, in nats, likewise.
        out_of_fold: scores ``(n, classes)`` of each labeled image by the fit that did not see it; None where there was none.
    """

    logits: Callable[[Tensor], Tensor]
    c: float
    accuracy: float
    loss: float
    out_of_fold: Tensor | None


class LabeledSet:
    """Features of several encoders for the images whose labels are given, standardized block by block.

    A block, the features of one encoder, is centered and divided by one number, so that the mean squared length of its rows is
    1: no encoder counts more for having larger or more features. Both come from the labeled images alone.

    Args:
        features: one an encoder, ``(n, d_k)``, of the same images in the same order.
        labels: int64 ``(n,)``, at least two classes.
        seed: of the folds.

    Raises:
        InputError: if there are fewer than two encoders, rows differ, features are not finite, or there is one class.

    >>> x = torch.arange(12.0).view(6, 2)
    >>> given = LabeledSet([x, 2 * x], torch.arange(6) % 2)
    >>> given.folds.bincount().tolist(), [float(block.square().sum(1).mean()) for block in given.blocks]
    ([2, 2, 2], [1.0, 1.0])
    """

    def __init__(self, features: Sequence[Tensor], labels: Tensor, *, seed: int = 0) -> None:
        if len(features) < 2:
            raise InputError(
                f"fusion: needs the features of at least two encoders, got {len(features)}; name another encoder, or measure "
                "one alone with metatc2 transfer"
            )
        given = [feature_sides({f"fusion: features of encoder {k}": block})[0] for k, block in enumerate(features)]
        rows = [len(block) for block in given]
        if len(set(rows)) > 1:
            raise InputError(
                f"fusion: features must be of the same images, and the encoders have {', '.join(map(str, rows))} rows; "
                "extract them from the same rows of one source"
            )
        labels = labels_of(labels, "fusion: labels", rows[0]).cpu()
        self.names, self.labels = torch.unique(labels, return_inverse=True)
        if len(self.names) < 2:
            raise InputError("fusion: the labeled images are all of one class; give at least two classes")
        self.seed = whole(seed, "fusion: seed", 0)
        self._means = [block.mean(0) for block in given]
        self._scales = [_scale(block - mean) for block, mean in zip(given, self._means, strict=True)]
        self.blocks = self.standardized(given)
        self.folds = folds_of(self.labels, self.seed)
        self._alone: dict[int, Alone] = {}

    @property
    def encoders(self) -> int:
        """K."""
        return len(self.blocks)

    @property
    def classes(self) -> int:
        """How many."""
        return len(self.names)

    def standardized(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Features of any images as those of the labeled ones are standardized, float32.

        Args:
            features: one an encoder, ``(q, d_k)``.

        Raises:
            InputError: if there are more or fewer encoders, or one has another width.
        """
        widths, given = [len(mean) for mean in self._means], [int(block.shape[-1]) for block in features]
        if widths != given:
            raise InputError(
                f"fusion: the encoders have {', '.join(map(str, widths))} features each where they were learned from and "
                f"{', '.join(map(str, given))} here; give the same encoders in the same order"
            )
        parts = zip(features, self._means, self._scales, strict=True)
        return [((block.to(mean.dtype) - mean) / scale).float() for block, mean, scale in parts]

    def alone(self, k: int) -> Alone:
        """The logistic regression on encoder k, fitted once."""
        if k not in self._alone:
            self._alone[k] = logistic(self.blocks[k], self.labels, self.folds)
        return self._alone[k]

    def validated(self, logits: Tensor) -> tuple[float, float]:
        """Accuracy and cross-entropy (nats) of scores ``(n, classes)`` on the labeled images."""
        right = (logits.argmax(1) == self.labels).double().mean()
        return float(right), float(torch.nn.functional.cross_entropy(logits.double(), self.labels))


def _scale(centered: Tensor) -> Tensor:
    length = centered.square().sum(1).mean().sqrt()
    # An encoder that says the same of every image is zero, not an error.
    return length if float(length) > 0 else torch.ones_like(length)


def folds_of(labels: Tensor, seed: int) -> Tensor | None:
    """Which fold holds each image out, stratified; None where a class has one label.

    Args:
        labels: int64 ``(n,)``, whole numbers from 0.
        seed: of the draw.
    """
    count = min(FOLDS, int(labels.bincount().min()))
    if count < 2:
        return None
    grouped, place = shuffled_within_classes(labels, torch.Generator().manual_seed(seed))
    folds = torch.empty_like(labels)
    folds[grouped] = place % count
    return folds


def logistic(block: Tensor, labels: Tensor, folds: Tensor | None) -> Alone:
    """The logistic regression on standardized features, its C by cross-validation inside the labels given.

    Args:
        block: ``(n, d)``, centered, rows of mean squared length 1.
        labels: int64 ``(n,)``, whole numbers from 0 without a gap.
        folds: see `folds_of`; None takes `C_DEFAULT`.
    """
    x, y, classes = block.double().numpy(), labels.numpy(), int(labels.max()) + 1
    if folds is None:
        model = _path(x, y, (C_DEFAULT,))[0]
        return Alone(lambda rows: _logits(model, rows), C_DEFAULT, float("nan"), float("nan"), None)
    held = torch.zeros(len(C_GRID), len(y), classes, dtype=torch.float64)
    for fold in folds.unique():
        out = (folds == fold).numpy()
        for i, fit in enumerate(_path(x[~out], y[~out], C_GRID)):
            held[i, torch.from_numpy(out)] = _logits(fit, torch.from_numpy(x[out]))
    accuracy = (held.argmax(2) == labels).double().mean(1)
    loss = torch.stack([torch.nn.functional.cross_entropy(one, labels) for one in held])
    place = choose(accuracy, loss)
    assert place is not None  # features are finite
    (best,) = place
    model = _path(x, y, C_GRID[: best + 1])[-1]
    return Alone(
        lambda rows: _logits(model, rows), C_GRID[best], float(accuracy[best]), float(loss[best]), held[best].float()
    )


def _path(x: Any, y: Any, values: Sequence[float]) -> list[LogisticRegression]:
    """Fits from the strongest penalty to the weakest, each begun at the one before it."""
    fits: list[LogisticRegression] = []
    with warnings.catch_warnings():
        # Where classes are separable the weakest penalties have no minimum to converge to soon.
        warnings.simplefilter("ignore", ConvergenceWarning)
        for c in values:
            model = LogisticRegression(C=c, warm_start=True, max_iter=_ROUNDS, tol=1e-4)
            if fits:
                model.coef_, model.intercept_ = fits[-1].coef_.copy(), fits[-1].intercept_.copy()
                model.classes_ = fits[-1].classes_
            fits.append(model.fit(x, y))
    return fits


def _logits(model: LogisticRegression, rows: Tensor) -> Tensor:
    """``(n, classes)``; for two classes scikit-learn has the second's alone."""
    scores = torch.from_numpy(np.asarray(model.decision_function(rows.double().numpy())))
    return torch.stack([torch.zeros_like(scores), scores], 1) if scores.ndim == 1 else scores

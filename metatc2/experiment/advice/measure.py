"""Accuracy from a few labels: a linear classifier on frozen features, and training the encoder from scratch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from metatc2.augment import Views
from metatc2.data import ImageStore
from metatc2.experiment.advice.parts import Parts
from metatc2.experiment.build import build_fresh_encoder, build_views
from metatc2.experiment.config import Config, override
from metatc2.transfer import FineTuning, per_class_values
from metatc2.transfer.fusion.labeled import folds_of, logistic

#: Learning rates of training from scratch; the better one on the validation draw is taken, for every seed and number of labels.
RATES = (0.01, 0.1)
_DECAY = 1e-4
_BATCH = 64
_LEAST_CROP = 0.25

Features = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class AdviceCell:
    """One arm, seed and number of labels.

    Args:
        validation: accuracy on the validation images, from the labels of the validation draw.
        right: for each test image, the test draws of this seed in which it got its class.
        draws: how many test draws.
    """

    validation: float
    right: tuple[int, ...]
    draws: int

    def to_json(self) -> dict[str, Any]:
        """As a mapping that JSON holds."""
        return {"validation": self.validation, "right": list(self.right), "draws": self.draws}

    @classmethod
    def from_json(cls, held: Mapping[str, Any]) -> AdviceCell:
        """What `to_json` gave."""
        return cls(float(held["validation"]), tuple(int(n) for n in held["right"]), int(held["draws"]))


def linear_cell(features: Features, parts: Parts, per_class: int, seed: int, draws: int) -> AdviceCell:
    """A logistic regression on frozen features; its penalty is chosen by cross-validation inside the labels given.

    Args:
        features: of rows of the store, float ``(n, D)``.
        parts: see `Parts`.
        per_class: labels of each class.
        seed: of the draws.
        draws: of labels to test with.
    """

    def right(given: Tensor, rows: Tensor) -> Tensor:
        predicted = predict(features(given), parts.labels(given), features(rows), seed)
        return (predicted == parts.labels(rows)).double()

    validation = right(parts.validation_draw(per_class, seed), parts.validation)
    test = [right(given, parts.test) for given in parts.test_draws(per_class, seed, draws)]
    return _cell(parts, validation, test)


def predict(features: Tensor, labels: Tensor, asked: Tensor, seed: int) -> Tensor:
    """Classes that a logistic regression on a few labeled rows gives to others.

    Features are centered and divided by one number, so that rows have mean squared length 1, both from the labeled rows alone.
    Where there are more features than rows it is fitted in the space that these span, which has the same minimum.

    Args:
        features: ``(n, D)``.
        labels: int64 ``(n,)``.
        asked: ``(q, D)``.
        seed: of the folds.

    Returns:
        int64 ``(q,)``.

    >>> x = torch.eye(2).repeat(3, 1)
    >>> predict(x, torch.tensor([4, 7] * 3), x[:2], 0).tolist()
    [4, 7]
    """
    x, q = features.double(), asked.double()
    center = x.mean(0)
    x, q = x - center, q - center
    scale = x.square().sum(1).mean().sqrt()
    scale = scale if float(scale) > 0 else torch.ones_like(scale)
    x, q = x / scale, q / scale
    if x.shape[1] > x.shape[0]:
        basis = torch.linalg.qr(x.T).Q
        x, q = x @ basis, q @ basis
    names, classes = torch.unique(labels, return_inverse=True)
    scores = logistic(x, classes, folds_of(classes, seed)).logits(q)
    return torch.as_tensor(names[scores.argmax(1)])


def from_scratch(config: Config, store: ImageStore, *, seed: int, steps: int) -> FineTuning:
    """How the encoder of the runs is trained on labels alone, with a linear head, by SGD.

    Images are cropped, turned and flipped as the views of pre-training are, at least a quarter of them kept; colors stay.

    Args:
        config: of the runs.
        store: the images.
        seed: of weights, order and augmentation.
        steps: of each training.
    """
    own = override(config, [f"trainer.seed={seed}"])
    encoder = build_fresh_encoder(own, store.channels, store.image_size).train()
    gpu = config.trainer.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    device = torch.device("cuda" if gpu else "cpu")
    return FineTuning(encoder, steps, _BATCH, _plainer(build_views(own, store.image_size)), "train", device, seed)


def _plainer(views: Views) -> Views:
    low, high = views.crop_scale
    return replace(views, jitter=0.0, grayscale=0.0, blur=0.0, crop_scale=(min(max(low, _LEAST_CROP), high), high))


def scratch_cell(
    run: FineTuning, parts: Parts, per_class: int, seed: int, draws: int, stop: Callable[[], bool]
) -> AdviceCell | None:
    """Training from scratch on the same draws; None if `stop` said so.

    Args:
        run: see `from_scratch`.
        parts: see `Parts`.
        per_class: labels of each class.
        seed: of the draws.
        draws: of labels to test with.
        stop: asked before each training.
    """

    def right(given: Tensor, rate: float, rows: Tensor) -> Tensor | None:
        labels = parts.labels(given)
        model = run.train(parts.store.images[given], labels, rate, _DECAY)
        if model is None:
            return None
        scores = run.scores(model, parts.store.images[rows])
        return torch.as_tensor(torch.unique(labels)[scores.argmax(1)] == parts.labels(rows)).double()

    tried: dict[float, Tensor] = {}
    for rate in RATES:
        if stop():
            return None
        correct = right(parts.validation_draw(per_class, seed), rate, parts.validation)
        if correct is not None:
            tried[rate] = correct
    best = max(tried, key=lambda rate: float(_weighted(parts, tried[rate], parts.validation).mean()), default=RATES[0])
    test = []
    for given in parts.test_draws(per_class, seed, draws):
        if stop():
            return None
        correct = right(given, best, parts.test)
        test.append(torch.zeros(len(parts.test), dtype=torch.float64) if correct is None else correct)
    return _cell(parts, tried.get(best, torch.zeros(len(parts.validation), dtype=torch.float64)), test)


def _cell(parts: Parts, validation: Tensor, test: list[Tensor]) -> AdviceCell:
    mean = float(_weighted(parts, validation, parts.validation).mean())
    return AdviceCell(mean, tuple(int(n) for n in torch.stack(test).sum(0).tolist()), len(test))


def _weighted(parts: Parts, right: Tensor, rows: Tensor) -> Tensor:
    """Values whose mean is the metric of the source."""
    return per_class_values(right, parts.labels(rows)) if parts.store.metric == "mean per class" else right

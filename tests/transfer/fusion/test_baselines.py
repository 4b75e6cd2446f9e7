"""Baselines of fusion against their equations, and what they learn from."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from metatc2.errors import InputError
from metatc2.transfer import log_me
from metatc2.transfer.fusion import BASELINES, LabeledSet
from metatc2.transfer.fusion.baselines import sur_weights

from .test_attention import labeled


def log_me_restated(f: np.ndarray, labels: np.ndarray) -> float:
    """Algorithm 1 of You et al. 2021, as published: the naive fixed point for each class, then the evidence (equation 2)."""
    n, d = f.shape
    total = []
    for c in np.unique(labels):
        y, alpha, beta = (labels == c).astype(float), 1.0, 1.0
        s = np.linalg.eigvalsh(f.T @ f)
        for _ in range(300):
            a = alpha * np.eye(d) + beta * f.T @ f
            m = beta * np.linalg.solve(a, f.T @ y)
            gamma = (beta * s / (alpha + beta * s)).sum()
            alpha, beta = gamma / (m @ m), (n - gamma) / ((f @ m - y) ** 2).sum()
        a = alpha * np.eye(d) + beta * f.T @ f
        m = beta * np.linalg.solve(a, f.T @ y)
        evidence = n / 2 * np.log(beta) + d / 2 * np.log(alpha) - n / 2 * np.log(2 * np.pi)
        evidence -= beta / 2 * ((f @ m - y) ** 2).sum() + alpha / 2 * m @ m + np.linalg.slogdet(a)[1] / 2
        total.append(evidence / n)
    return float(np.mean(total))


@pytest.mark.slow
def test_the_best_by_log_me_has_the_highest_published_evidence() -> None:
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        labels = torch.arange(3).repeat(12)
        # All know something: of noise the best α is infinite, which the published iteration runs into.
        features = [a * torch.eye(3, 5)[labels] + torch.randn(36, 5, generator=generator) for a in (1.5, 3.0, 2.0)]
        given = LabeledSet(features, labels)
        evidence = [log_me_restated(block.double().numpy(), labels.numpy()) for block in given.blocks]
        np.testing.assert_allclose([log_me(block, labels) for block in given.blocks], evidence, rtol=1e-5)
        fitted = BASELINES["best-by-logme"]().fit(given, torch.Generator())
        assert fitted.weights is not None
        assert int(fitted.weights(features)[0].argmax()) == int(np.argmax(evidence))


def test_weights_of_sur_are_not_negative_sparse_and_the_minimum() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(4).repeat(10)
    told = torch.eye(4)[labels]
    s = torch.stack([told + 0.3 * torch.randn(40, 4, generator=generator) for _ in range(2)])
    s = torch.cat([s, torch.randn(3, 40, 4, generator=generator) / 5]).double()
    weights = sur_weights(s, labels)
    assert bool((weights >= 0).all())
    assert int((weights == 0).sum()) >= 1

    def loss(w: torch.Tensor) -> torch.Tensor:
        scores = torch.einsum("k,knc->nc", w, s)
        return torch.nn.functional.cross_entropy(scores, labels) + 0.01 * w.sum()

    w = weights.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(w), w)
    # Conditions of Karush, Kuhn and Tucker: no slope where a weight is free, none downward where it is held at zero.
    assert bool((gradient[weights > 1e-6].abs() < 1e-3).all())
    assert bool((gradient[weights == 0] > -1e-3).all())


def test_sur_leaves_out_an_encoder_that_knows_nothing() -> None:
    for seed in range(3):
        features, labels = labeled(seed)
        fitted = BASELINES["sur"]().fit(LabeledSet(features, labels), torch.Generator())
        assert fitted.weights is not None
        weights = fitted.weights(features)[0]
        assert weights[0] > 0.5 > weights[2]
        assert torch.isclose(weights.sum(), torch.tensor(1.0))


def test_the_ridge_has_a_penalty_for_each_encoder() -> None:
    features, labels = labeled(0)
    given = LabeledSet(features, labels)
    fitted = BASELINES["concatenation-ridge"]().fit(given, torch.Generator())
    x = torch.cat(given.blocks, 1).double()
    widths = [block.shape[1] for block in given.blocks]
    penalty = torch.tensor([fitted.chosen[f"penalty {k}"] for k in range(3)]).repeat_interleave(torch.tensor(widths))
    y = torch.eye(3, dtype=torch.float64)[labels]
    x_mean, y_mean = x.mean(0), y.mean(0)
    w = torch.linalg.solve((x - x_mean).T @ (x - x_mean) + penalty.double().diag(), (x - x_mean).T @ (y - y_mean))
    expected = (x - x_mean) @ w + y_mean
    assert torch.allclose(fitted.logits(features).double(), expected, atol=1e-5)
    assert fitted.chosen["penalty 2"] >= fitted.chosen["penalty 0"]


def test_blocks_are_standardized_by_the_labeled_images_alone() -> None:
    features, labels = labeled(0)
    given = LabeledSet([100 * features[0] + 7, features[1], features[2]], labels)
    for block in given.blocks:
        assert torch.allclose(block.mean(0), torch.zeros(6), atol=1e-4)
        assert float(block.square().sum(1).mean()) == pytest.approx(1, rel=1e-4)
    shifted = given.standardized([100 * features[0] + 107, features[1], features[2]])[0]
    scale = (100 * (features[0] - features[0].mean(0))).square().sum(1).mean().sqrt()
    assert torch.allclose(shifted - given.blocks[0], torch.full_like(shifted, 100) / scale, atol=1e-4)


def test_the_best_by_validation_and_stacking_see_what_was_held_out() -> None:
    features, labels = labeled(2)
    given = LabeledSet(features, labels)
    assert given.folds is not None
    for fold in range(3):
        assert labels[given.folds == fold].bincount().tolist() == [4, 4, 4]
    fitted = BASELINES["best-by-validation"]().fit(given, torch.Generator())
    assert fitted.weights is not None
    assert fitted.weights(features)[0].tolist() == [1, 0, 0]
    assert given.alone(0).accuracy > given.alone(1).accuracy > given.alone(2).accuracy
    stacked = BASELINES["stacking"]().fit(given, torch.Generator())
    more, asked = labeled(12, 40)
    assert float((stacked.logits(more).argmax(1) == asked).double().mean()) > 0.9


@pytest.mark.parametrize("name", sorted(BASELINES))
@pytest.mark.parametrize("classes", [2, 3])
def test_one_label_a_class_is_enough(name: str, classes: int) -> None:
    features, labels = labeled(0, 4)
    known = labels < classes
    given = LabeledSet([f[known][:classes] for f in features], labels[known][:classes])
    assert given.folds is None
    fitted = BASELINES[name]().fit(given, torch.Generator().manual_seed(0))
    assert fitted.logits(features).shape == (12, classes)
    assert bool(fitted.logits(features).isfinite().all())


@pytest.mark.parametrize("name", sorted(BASELINES))
def test_an_encoder_that_says_the_same_of_every_image_does_no_harm(name: str) -> None:
    features, labels = labeled(0)
    features = [features[0], torch.ones(len(labels), 2)]
    fitted = BASELINES[name]().fit(LabeledSet(features, labels), torch.Generator().manual_seed(0))
    assert float((fitted.logits(features).argmax(1) == labels).double().mean()) > 0.9


def test_what_cannot_be_fused_is_refused() -> None:
    features, labels = labeled(0)
    with pytest.raises(InputError, match="needs the features of at least two encoders, got 1"):
        LabeledSet(features[:1], labels)
    with pytest.raises(InputError, match="features must be of the same images, and the encoders have 36, 35 rows"):
        LabeledSet([features[0], features[1][:-1]], labels)
    with pytest.raises(InputError, match="all of one class"):
        LabeledSet(features, torch.zeros(36, dtype=torch.long))
    with pytest.raises(InputError, match="6, 6, 6 features each where they were learned from and 6, 5, 6 here"):
        LabeledSet(features, labels).standardized([features[0], features[1][:, 1:], features[2]])

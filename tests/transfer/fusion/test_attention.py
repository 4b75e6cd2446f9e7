"""Each attention against its formula in NumPy; sparsemax against a projection; order and repetition of encoders."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from metatc2.errors import InputError
from metatc2.transfer.fusion import ATTENTIONS, AttentionSizes, FitOptions, LabeledSet, PretextFusion, sparsemax

FITS, ROWS, ENCODERS, WIDTH, SLICES, TAU = 2, 5, 3, 8, 4, 0.7
NAMES = sorted(ATTENTIONS)


def softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def nearest_on_the_simplex(v: np.ndarray) -> np.ndarray:
    """By trying every support: on each the projection is v less one number, and the nearest point that is allowed wins."""
    best, least = v, np.inf
    for size in range(1, len(v) + 1):
        for support in map(list, itertools.combinations(range(len(v)), size)):
            point = np.zeros(len(v))
            point[support] = v[support] - (v[support].sum() - 1) / size
            if (point >= 0).all() and (distance := ((point - v) ** 2).sum()) < least:
                best, least = point, distance
    return best


def test_sparsemax_is_the_projection_onto_the_simplex() -> None:
    scores = torch.randn(60, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = np.stack([nearest_on_the_simplex(v) for v in scores.numpy()])
    np.testing.assert_allclose(sparsemax(scores).numpy(), expected, atol=1e-12)
    assert 10 < (expected == 0).any(1).sum() < 60
    assert torch.autograd.gradcheck(sparsemax, (scores[:5].clone().requires_grad_(),))


def by_hand(name: str, p: dict[str, np.ndarray], h: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One image, ``(K, width)``: z and weights."""
    mean, v = h.mean(0), p["value"].T
    query = p["query"] + p["from mean"].T @ mean if "query" in p else None
    if name in ("static", "random"):
        alpha = softmax(p["logits"] / TAU) if name == "static" else p["weights"]
    elif name in ("sample", "sparsemax"):
        scores = np.array([query @ p["key"] @ h_k for h_k in h]) / (np.sqrt(WIDTH) * TAU)
        alpha = softmax(scores) if name == "sample" else nearest_on_the_simplex(scores)
    elif name == "channel":
        e = np.maximum(p["squeeze"].T @ mean + p["squeeze bias"], 0)
        scores = np.stack([p["excite"][k].T @ e + p["excite bias"][k] for k in range(len(h))])
        gates = softmax(scores / TAU, 0)
        return v @ (gates * h).sum(0), gates.mean(1)
    else:
        parts, alphas, size = [], [], WIDTH // SLICES
        for j in range(SLICES):
            own = slice(j * size, (j + 1) * size)
            if name == "multihead":
                scores = np.array([query[own] @ (p["key"] @ h_k)[own] for h_k in h]) / (np.sqrt(size) * TAU)
            else:
                scores = np.array([p["queries"][j] @ h_k for h_k in h]) / (np.sqrt(WIDTH) * TAU)
            alphas.append(softmax(scores))
            parts.append(sum(a * (v @ h_k)[own] for a, h_k in zip(alphas[-1], h, strict=True)))
        return np.concatenate(parts), np.mean(alphas, 0)
    return v @ (alpha[:, None] * h).sum(0), alpha


@pytest.mark.parametrize("name", NAMES)
def test_an_attention_is_its_formula(name: str) -> None:
    generator = torch.Generator().manual_seed(1)
    sizes = AttentionSizes(encoders=ENCODERS, width=WIDTH, temperature=TAU, heads=SLICES, queries=SLICES)
    attention = ATTENTIONS[name](sizes)
    start = {**attention.initial(generator), **attention.constants(generator)}
    p = {key: value + torch.randn(FITS, *value.shape, generator=generator) for key, value in start.items()}
    if name == "random":
        p = {**p, "weights": p["weights"].softmax(1)}
    h = torch.randn(FITS, ROWS, ENCODERS, WIDTH, generator=generator)
    z, weights = attention.combine(p, h)
    for b, i in itertools.product(range(FITS), range(ROWS)):
        own = {key: value[b].double().numpy() for key, value in p.items()}
        expected, alpha = by_hand(name, own, h[b, i].double().numpy())
        np.testing.assert_allclose(z[b, i].numpy(), expected, atol=1e-4)
        np.testing.assert_allclose(weights[b, i].numpy(), alpha, atol=1e-5)
    assert torch.allclose(weights.sum(-1), torch.ones(FITS, ROWS), atol=1e-5)


def labeled(seed: int, per_class: int = 12) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Three encoders: one that knows the class, one that half does, noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(3).repeat(per_class)
    noise = [torch.randn(len(labels), 6, generator=generator) for _ in range(3)]
    told = torch.eye(3, 6)[labels]
    return [4 * told + noise[0], 1.2 * told + noise[1], noise[2]], labels


def mostly_slow(quick: tuple[str, ...], *others: str) -> list[Any]:
    """Names of attentions: all are held against their formulas above, and few need be trained for what training adds."""
    return [*quick, *(pytest.param(name, marks=pytest.mark.slow) for name in others)]


FAST = FitOptions(entropies=(0.0, 0.1), decays=(0.01,), steps=40)
#: Where nothing is said of what is chosen.
ONE = FitOptions(entropies=(0.1,), decays=(0.01,), steps=40)


@pytest.mark.parametrize("name", mostly_slow(("static", "multihead"), "sample", "sparsemax", "channel"))
def test_the_order_of_encoders_does_not_matter(name: str) -> None:
    features, labels = labeled(0)
    order = [2, 0, 1]
    one, other = (
        PretextFusion(name, options=ONE).fit(LabeledSet(given, labels))
        for given in (features, [features[k] for k in order])
    )
    assert one.weights is not None
    assert other.weights is not None
    moved = other.weights([features[k] for k in order])
    assert torch.allclose(one.weights(features)[:, order], moved, atol=1e-3)
    assert torch.allclose(one.logits(features), other.logits([features[k] for k in order]), atol=1e-2)


@pytest.mark.parametrize("name", mostly_slow(("sample", "channel"), "static", "sparsemax", "multihead"))
def test_an_encoder_given_twice_is_one_in_two_shares(name: str) -> None:
    features, labels = labeled(1)
    twice = [features[0], features[1], features[0]]
    once = PretextFusion(name, options=ONE).fit(LabeledSet(features[:2], labels))
    two = PretextFusion(name, options=ONE).fit(LabeledSet(twice, labels))
    assert two.weights is not None
    weights = two.weights(twice)
    assert torch.allclose(weights[:, 0], weights[:, 2], atol=1e-3)
    agree = (two.logits(twice).argmax(1) == once.logits(features[:2]).argmax(1)).double().mean()
    assert float(agree) > 0.9


@pytest.mark.parametrize("name", mostly_slow(("sparsemax",), "queries", "sample", "static", "channel", "multihead"))
def test_the_weight_of_an_encoder_that_knows_nothing_shrinks(name: str, seed_offset: int) -> None:
    """Over several tasks: it begins at a third, and what it loses goes to the one that holds the answer."""
    options = FitOptions(entropies=(0.0,), decays=(0.001,), steps=60)
    means = []
    for seed in range(3):
        features, labels = labeled(seed + seed_offset)
        fitted = PretextFusion(name, options=options).fit(LabeledSet(features, labels))
        assert fitted.weights is not None
        means.append(fitted.weights(features).mean(0))
    assert all(mean[0] > mean[2] + 0.02 for mean in means)
    assert torch.stack(means).mean(0)[2] < 0.32


def test_sparse_weights_may_leave_an_encoder_out_for_all_images() -> None:
    """The slope of the entropy is infinite there: where an image held out listened to it, the fit became NaN."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(6) % 3
    features = [torch.randn(6, 8, generator=generator) for _ in range(6)]
    options = FitOptions(entropies=(0.0, 0.1), decays=(0.01,), steps=20, rate=0.1)
    fitted = PretextFusion("sparsemax", width=64, options=options).fit(LabeledSet(features, labels))
    assert fitted.weights is not None
    assert torch.allclose(fitted.weights(features).sum(1), torch.ones(6), atol=1e-5)
    assert bool(fitted.logits(features).isfinite().all())


def test_what_is_learned_is_right_where_one_encoder_knows() -> None:
    features, labels = labeled(3)
    more, asked = labeled(4, 50)
    fitted = PretextFusion(options=FAST).fit(LabeledSet(features, labels))
    assert float((fitted.logits(more).argmax(1) == asked).double().mean()) > 0.9
    assert set(fitted.chosen) == {"entropy", "decay"}


def test_a_strong_entropy_keeps_weights_equal() -> None:
    features, labels = labeled(5)
    fitted = PretextFusion("static", options=FitOptions(entropies=(1000.0,), decays=(0.1,))).fit(
        LabeledSet(features, labels)
    )
    assert fitted.weights is not None
    assert torch.allclose(fitted.weights(features), torch.full((len(labels), 3), 1 / 3), atol=0.02)


def test_a_width_that_cannot_be_cut_is_refused() -> None:
    features, labels = labeled(0)
    with pytest.raises(InputError, match="heads=4 slices do not divide the width 6"):
        PretextFusion("multihead", width=6).fit(LabeledSet(features, labels))
    with pytest.raises(InputError, match="unknown attention 'smaple'; did you mean 'sample'"):
        PretextFusion("smaple")

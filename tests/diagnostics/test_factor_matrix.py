"""Probes of known factors against scikit-learn, their choice by hand, and features that tell a factor exactly or not at all."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.metrics import r2_score
from torch import Tensor, nn

from metatc2.data import GenerativeFactors, ImageStore, load_shapes, shape_factors
from metatc2.diagnostics import FactorMatrix, factor_matrix, probe_factors
from metatc2.diagnostics.factor_matrix import PENALTIES
from metatc2.errors import InputError
from metatc2.metrics.ridge_path import RidgePath

NAMES, KINDS = ("texture", "size", "hue"), ("categorical", "linear", "circular")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def known(count: int, seed: int = 0) -> Tensor:
    return shape_factors(count, seed).select(*NAMES).values


def features(values: Tensor, dim: int = 24, noise: float = 0.5, seed: int = 1) -> Tensor:
    """A random map of the factors' sines, of different scales and off center, and noise."""
    g = seeded(seed)
    turned = values @ torch.randn(3, dim, generator=g).double() * 2
    scale = torch.rand(dim, generator=g).double() * 10 + 0.1
    return (turned.sin() + noise * torch.randn(len(values), dim, generator=g).double()) * scale + 3


def numbers(values: np.ndarray, kind: str) -> np.ndarray:
    if kind == "circular":
        return np.stack([np.cos(2 * math.pi * values), np.sin(2 * math.pi * values)], 1)
    return values[:, None] if kind == "linear" else values


def sklearn_score(x: np.ndarray, y: np.ndarray, q: np.ndarray, z: np.ndarray, kind: str, rho: float) -> float:
    mean, std = x.mean(0), x.std(0)
    x, q = (x - mean) / std, (q - mean) / std
    if kind == "categorical":
        return float(RidgeClassifier(alpha=rho * len(x)).fit(x, y).score(q, z))
    answer = Ridge(alpha=rho * len(x)).fit(x, numbers(y, kind)).predict(q).reshape(len(q), -1)
    return float(r2_score(numbers(z, kind), answer, multioutput="variance_weighted"))


@pytest.mark.parametrize("count", [300, 30])  # 30 images: fewer to fit to than there are dimensions
def test_every_step_as_scikit_learn(count: int) -> None:
    """Same validation part, every penalty of the grid, the chosen one and the test."""
    values, dim = known(count + 200), 24 if count == 300 else 40
    x = features(values, dim)
    train, test = slice(0, count), slice(count, None)
    found = probe_factors(x[train], values[train], x[test], values[test], NAMES, KINDS, generator=seeded(7))
    order = torch.randperm(count, generator=seeded(7))
    held = round(0.2 * count)
    choosing, fitting = order[:held].numpy(), order[held:].numpy()
    a, b = x.numpy(), values.numpy()
    for i, (name, kind) in enumerate(zip(NAMES, KINDS, strict=True)):
        y = b[:, i]
        scores = [sklearn_score(a[fitting], y[fitting], a[choosing], y[choosing], kind, rho) for rho in PENALTIES]
        probe = found.factors[name]
        assert scores[PENALTIES.index(probe.penalty)] == pytest.approx(max(scores), abs=1e-9)
        expected = sklearn_score(a[train], y[train], a[test], y[test], kind, probe.penalty)
        assert probe.value == pytest.approx(expected, abs=1e-7)
        assert probe.selectivity == probe.value - probe.control
    assert found.mean == pytest.approx(np.mean(list(found.values().values())))
    assert (found.train, found.test) == (count, 200)


@pytest.mark.parametrize(("count", "dim"), [(50, 6), (12, 30)])
def test_predictions_are_those_of_ridge(count: int, dim: int) -> None:
    x, y, q = (torch.randn(n, d, generator=seeded(n + d)).double() for n, d in ((count, dim), (count, 3), (9, dim)))
    x, q = 5 * x + 2, 5 * q + 2
    path = RidgePath(x, y)
    penalties = torch.tensor([1e-4, 0.1, 10.0]).double()
    found = path.predict(path.rotate(q), penalties).numpy()
    mean, std = x.numpy().mean(0), x.numpy().std(0)
    for i, rho in enumerate(penalties.tolist()):
        ridge = Ridge(alpha=rho * count).fit((x.numpy() - mean) / std, y[:, i].numpy())
        np.testing.assert_allclose(found[:, i], ridge.predict((q.numpy() - mean) / std), rtol=1e-7, atol=1e-9)


def test_columns_that_do_not_vary_change_nothing() -> None:
    x, y = torch.randn(40, 3, generator=seeded()), torch.randn(40, 1, generator=seeded(1))
    wide = torch.cat([x, torch.full((40, 2), 0.1)], 1)
    paths = RidgePath(x, y), RidgePath(wide, y)
    answers = [path.predict(path.rotate(z), torch.tensor([0.1])) for path, z in zip(paths, (x, wide), strict=True)]
    torch.testing.assert_close(*answers)


def shared(found: FactorMatrix) -> dict[str, float]:
    return {name: probe.control for name, probe in found.factors.items()}


def test_what_is_told_exactly_and_what_is_not(seed_offset: int) -> None:
    values = known(900, seed_offset)
    turn = 2 * math.pi * values[:, 2]
    one_hot = torch.nn.functional.one_hot(values[:, 0].long()).double()
    told = torch.cat([one_hot, values[:, 1:2], turn.cos()[:, None], turn.sin()[:, None]], 1)
    mixed = told @ torch.randn(11, 16, generator=seeded(seed_offset)).double()
    found = probe_factors(mixed[:600], values[:600], mixed[600:], values[600:], NAMES, KINDS, generator=seeded())
    assert all(value > 0.999 for value in found.values().values())
    assert found.factors["texture"].chance == pytest.approx(1 / 8, abs=0.06)
    assert shared(found) == pytest.approx({"texture": 1 / 8, "size": 0, "hue": 0}, abs=0.06)
    assert found.mean_selectivity == pytest.approx((7 / 8 + 1 + 1) / 3, abs=0.06)
    noise = torch.randn(900, 16, generator=seeded(seed_offset + 1))
    empty = probe_factors(noise[:600], values[:600], noise[600:], values[600:], NAMES, KINDS, generator=seeded())
    assert all(abs(probe.selectivity) < 0.08 for probe in empty.factors.values())


def test_shuffled_labels_tell_what_a_weak_penalty_costs() -> None:
    """40 images in 30 dimensions without a penalty to speak of: a probe of nothing is far below the mean."""
    values = known(240)
    x = features(values, 30)
    found = probe_factors(
        x[:40], values[:40], x[40:], values[40:], NAMES, KINDS, generator=seeded(), penalties=(1e-9,), shuffles=3
    )
    assert found.factors["size"].control < -0.5
    assert found.factors["size"].penalty == 1e-9


def test_the_generator_decides() -> None:
    values = known(200)
    x = features(values)
    found = [
        probe_factors(x[:100], values[:100], x[100:], values[100:], NAMES, KINDS, generator=seeded(s))
        for s in (1, 1, 2)
    ]
    assert found[0] == found[1]
    assert shared(found[0]) != shared(found[2])


def test_an_encoder_and_a_store() -> None:
    store = load_shapes(image_size=12, count=1200)
    assert store.factors is not None
    assert store.factors.values.equal(shape_factors(1200).values)
    assert load_shapes("hue", 12, count=200).factors is not None
    train, test = torch.arange(900), torch.arange(900, 1200)
    found = factor_matrix(nn.Flatten(), store, train, test, generator=seeded())
    pixels = store.images.flatten(1).float() / 255
    table = store.factors
    direct = probe_factors(
        pixels[train],
        table.values[train],
        pixels[test],
        table.values[test],
        table.names,
        table.kinds,
        generator=seeded(),
    )
    assert found == direct
    plain = ImageStore("plain", store.images, store.labels)
    with pytest.raises(InputError, match="plain does not know what its images were made from"):
        factor_matrix(nn.Flatten(), plain, train, test, generator=seeded())
    assert factor_matrix(nn.Flatten(), plain, train, test, generator=seeded(), factors=table) == found
    with pytest.raises(InputError, match="plain has 1200 images and factors are of 900"):
        factor_matrix(nn.Flatten(), plain, train, test, generator=seeded(), factors=table.take(train))


def test_factors_of_other_images_are_dropped() -> None:
    images, labels = torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64)
    one = GenerativeFactors(torch.rand(3, 1), ("x",), ("linear",))
    assert ImageStore("a", images, labels, factors=one).factors is None
    kept = ImageStore("a", images, labels, factors=GenerativeFactors(torch.rand(4, 1), ("x",), ("linear",)))
    assert kept.factors is not None
    assert kept.checksum() == ImageStore("a", images, labels).checksum()


def test_what_does_not_fit_is_refused() -> None:
    values = known(100)
    x = features(values)

    def run(a: Tensor = x, b: Tensor = values, c: Tensor = x, d: Tensor = values, **options: object) -> None:
        probe_factors(a, b, c, d, NAMES, KINDS, **{"generator": seeded(), **options})  # type: ignore[arg-type]

    with pytest.raises(InputError, match="codes are of 50 images and factors of 100"):
        run(a=x[:50])
    with pytest.raises(InputError, match="features of one width and at least 20 training images"):
        run(c=x[:, :5])
    with pytest.raises(InputError, match="at least 20 training images, got \\(10, 24\\)"):
        run(a=x[:10], b=values[:10])
    with pytest.raises(InputError, match="factor matrix, test: factor texture is the same in all images"):
        run(c=x[:1].expand(2, -1), d=values[:1].expand(2, -1))
    with pytest.raises(InputError, match="NaN or infinite"):
        run(a=x / 0)
    with pytest.raises(InputError, match="each of factor matrix: penalties"):
        run(penalties=(0.0,))
    with pytest.raises(InputError, match="factor matrix: validation"):
        run(validation=1.0)
    with pytest.raises(InputError, match="factor matrix: shuffles must be at least 1"):
        run(shuffles=0)

"""Which labels are seen, and the two ways of learning from them, against scikit-learn and `fine_tune` on those rows."""

from __future__ import annotations

import inspect

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedShuffleSplit
from torch import Tensor, nn

from metatc2.errors import InputError
from metatc2.transfer.protocols.fine_tune import fine_tune
from metatc2.transfer.protocols.linear import L2_GRID
from metatc2.transfer.protocols.semi_supervised import (
    FRACTIONS,
    label_fraction,
    semi_supervised_linear,
)
from metatc2.transfer.protocols.semi_supervised_fine_tune import semi_supervised_fine_tune


def test_share_of_each_class() -> None:
    labels = torch.tensor([0] * 1000 + [4] * 250 + [7] * 30 + [9] * 2)[torch.randperm(1282)]
    rows = label_fraction(labels, 0.01)
    assert labels[rows].bincount()[[0, 4, 7, 9]].tolist() == [10, 3, 1, 1]
    assert rows.tolist() == sorted(set(rows.tolist()))
    assert label_fraction(labels, 1.0).tolist() == list(range(1282))
    even = torch.arange(1000) % 5
    _, oracle = next(StratifiedShuffleSplit(1, test_size=0.1, random_state=0).split(even, even))
    assert torch.equal(even[label_fraction(even, 0.1)].bincount(), even[torch.from_numpy(oracle)].bincount())


def test_subset_follows_from_labels_fraction_and_seed(seed_offset: int) -> None:
    labels = torch.arange(400) % 4
    assert torch.equal(label_fraction(labels, 0.1, seed=3), label_fraction(labels, 0.1, seed=3))
    assert not torch.equal(label_fraction(labels, 0.1, seed=3), label_fraction(labels, 0.1, seed=4))
    small, large = set(label_fraction(labels, 0.01).tolist()), set(label_fraction(labels, 0.1).tolist())
    assert small < large
    # Every image has the same chance, not the first of its class.
    often = sum(label_fraction(labels, 0.25, seed=seed_offset + s).bincount(minlength=400) for s in range(200))
    assert 20 < int(often.min()) <= int(often.max()) < 85  # type: ignore[union-attr]


def data(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    labels = 3 * (torch.arange(900) % 3)
    features = 2 * torch.randn(3, 5, generator=g)[labels // 3] + 2 * torch.randn(900, 5, generator=g)
    return features[:600], labels[:600], features[600:700], labels[600:700], features[700:], labels[700:]


def test_linear_equals_scikit_learn_on_the_fraction() -> None:
    train, y, validation, validation_labels, test, test_labels = parts = data()
    values = (1e-2, 1.0, 100.0, 1e8)  # the last leaves the intercepts alone
    found = semi_supervised_linear(*parts, fraction=0.05, seed=2, l2=values)
    rows = label_fraction(y, 0.05, seed=2)
    assert torch.equal(found.rows, rows)
    models = {v: LogisticRegression(C=1 / v, tol=1e-8, max_iter=5000).fit(train[rows], y[rows]) for v in values}
    scores = {v: float(m.score(validation, validation_labels)) for v, m in models.items()}
    assert {key[0]: value for key, value in found.validation.items()} == pytest.approx(scores)
    best = max(reversed(values), key=lambda v: scores[v])
    assert found.chosen == {"l2": best}
    assert best != values[-1]
    assert len(set(scores.values())) > 1
    assert torch.equal(found.predicted, torch.from_numpy(models[best].predict(test)))
    assert torch.equal(found.correct, (found.predicted == test_labels).double())
    assert found.accuracy == float(found.correct.mean())


def test_only_the_fraction_and_validation_decide() -> None:
    train, y, *others = parts = data()
    few = {"fraction": 0.05, "l2": (1e-2, 1.0, 100.0)}
    first = semi_supervised_linear(*parts, **few)  # type: ignore[arg-type]
    unseen = torch.ones(600, dtype=torch.bool).index_fill(0, first.rows, False)
    second = semi_supervised_linear(torch.where(unseen[:, None], 99.0, train), y, *others, **few)  # type: ignore[arg-type]
    assert torch.equal(first.predicted, second.predicted)
    third = semi_supervised_linear(*parts[:4], parts[4], parts[5] + 1, **few)  # type: ignore[arg-type]
    assert first.validation == third.validation
    assert third.accuracy == 0
    assert inspect.signature(semi_supervised_linear).parameters["l2"].default is L2_GRID
    assert len(L2_GRID) == 45
    assert (L2_GRID[0], L2_GRID[-1], FRACTIONS) == (pytest.approx(1e-6), pytest.approx(1e5), (0.01, 0.1))


def test_more_labels_are_better(seed_offset: int) -> None:
    parts = data(seed_offset)
    few, many = (semi_supervised_linear(*parts, fraction=f, l2=(1.0, 100.0)).accuracy for f in (0.005, 1.0))
    assert many > few + 0.05


def test_fine_tuning_is_fine_tuning_on_the_fraction() -> None:
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(260) % 2
    bright = torch.where((torch.arange(4) < 2) == (labels == 1)[:, None], 60, 0)  # upper or lower half
    images = (190 * torch.rand(260, 1, 4, 4, generator=g) + bright.view(-1, 1, 4, 1)).byte()
    parts = (images[:200], labels[:200], images[200:230], labels[200:230], images[230:], labels[230:])
    torch.manual_seed(5)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.ReLU())
    before = encoder[1].weight.detach().clone()
    options = {"steps": 30, "rates": (0.001, 0.1), "weight_decays": (0.0, 0.1), "batch": 8}

    def generator() -> torch.Generator:
        return torch.Generator().manual_seed(5)

    found = semi_supervised_fine_tune(encoder, *parts, fraction=0.1, seed=1, generator=generator(), **options)  # type: ignore[arg-type]
    rows = label_fraction(labels[:200], 0.1, seed=1)
    oracle = fine_tune(
        encoder,
        images[rows],
        labels[rows],
        *parts[2:],
        generator=generator(),
        refit=False,
        **options,  # type: ignore[arg-type]
    )
    assert torch.equal(found.rows, rows)
    assert torch.equal(found.predicted, oracle.predicted)
    assert torch.equal(found.correct, oracle.correct)
    assert found.chosen == {"learning_rate": oracle.learning_rate, "weight_decay": oracle.weight_decay}
    assert found.validation[0.1, 0.1] == float(oracle.validation[1, 1])
    assert found.accuracy > 0.7
    assert torch.equal(encoder[1].weight, before)


def test_bad_input() -> None:
    parts = data()
    for fraction in (0.0, 1.5, float("nan")):
        with pytest.raises(InputError, match="fraction must be a finite number above 0 and at most 1"):
            semi_supervised_linear(*parts, fraction=fraction)
    with pytest.raises(InputError, match="l2"):
        semi_supervised_linear(*parts, fraction=0.1, l2=())
    with pytest.raises(InputError, match="test must be"):
        semi_supervised_linear(*parts[:4], parts[4][:, 1:], parts[5], fraction=0.1)
    with pytest.raises(InputError, match="one class"):
        semi_supervised_linear(parts[0], 0 * parts[1], *parts[2:], fraction=0.1)
    with pytest.raises(InputError, match="validation: 100 of 100"):
        semi_supervised_linear(*parts[:2], parts[2] * torch.inf, *parts[3:], fraction=0.1)
    images = torch.zeros(10, 1, 4, 4, dtype=torch.uint8)
    short = (images, torch.zeros(9, dtype=torch.int64), images, torch.zeros(10), images, torch.zeros(10))
    with pytest.raises(InputError, match="one label an image, got 10 and 9"):
        semi_supervised_fine_tune(nn.Linear(2, 2), *short, fraction=0.5, generator=torch.Generator())

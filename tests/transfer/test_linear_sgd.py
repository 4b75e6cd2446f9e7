"""The SGD probe against `torch.optim.SGD` on the same batches; how the rate is chosen."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from metatc2.errors import InputError
from metatc2.transfer.protocols.linear_sgd import LinearSGDResult, linear_sgd

Parts = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def data(spread: float = 1.5) -> Parts:
    g = torch.Generator().manual_seed(0)
    labels = 3 * (torch.arange(340) % 4)  # labels with gaps
    means = torch.randn(4, 6, generator=g)
    features = means[labels // 3] + spread * torch.randn(340, 6, generator=g)
    features = features * torch.tensor([1.0, 2, 3, 0.1, 0.5, 1]) + 2
    return features[:150], labels[:150], features[150:220], labels[150:220], features[220:], labels[220:]


def run(parts: Parts, **options: object) -> LinearSGDResult:
    settings: dict[str, object] = {"generator": torch.Generator().manual_seed(1), "epochs": 9, "batch": 32, **options}
    return linear_sgd(*parts, **settings)  # type: ignore[arg-type]


def by_torch(x: Tensor, y: Tensor, rate: float, schedule: str, decay: float, *, before: int = 0) -> nn.Linear:
    """`before`: epochs that the generator has already given orders for."""
    head = nn.Linear(6, 4)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    optimizer = torch.optim.SGD(head.parameters(), lr=rate * 32 / 256, momentum=0.9, weight_decay=decay)
    g = torch.Generator().manual_seed(1)
    for _ in range(before):
        torch.randperm(150, generator=g)
    per_epoch = math.ceil(len(x) / 32)
    scheduler = (
        torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 9 * per_epoch)
        if schedule == "cosine"
        else torch.optim.lr_scheduler.MultiStepLR(optimizer, [6 * per_epoch, 8 * per_epoch], 0.1)
    )
    for _ in range(9):
        for rows in torch.randperm(len(x), generator=g).split(32):
            optimizer.zero_grad()
            nn.functional.cross_entropy(head(x[rows]), y[rows] // 3).backward()
            optimizer.step()
            scheduler.step()
    return head


@pytest.mark.parametrize(("schedule", "decay"), [("cosine", 0.0), ("steps", 0.01)])
def test_equals_torch(schedule: str, decay: float) -> None:
    train, y, validation, validation_labels, test, test_labels = parts = data()
    rates = (0.02, 0.3, 3.0)
    found = run(parts, rates=rates, schedule=schedule, weight_decay=decay, refit=False)
    mean, deviation = train.mean(0), train.std(0, correction=0)
    heads = {rate: by_torch((train - mean) / deviation, y, rate, schedule, decay) for rate in rates}
    for rate, head in heads.items():
        expected = (3 * head((validation - mean) / deviation).argmax(1) == validation_labels).double().mean()
        assert found.validation[rate] == pytest.approx(float(expected))
    assert len(set(found.validation.values())) > 1
    losses = {
        rate: nn.functional.cross_entropy(head((validation - mean) / deviation), validation_labels // 3).item()
        for rate, head in heads.items()
    }
    assert found.validation_loss == pytest.approx(losses, rel=1e-4)
    # Of equals the one with the lower cross-entropy.
    assert found.learning_rate == max(rates, key=lambda rate: (found.validation[rate], -losses[rate]))
    expected = 3 * heads[found.learning_rate]((test - mean) / deviation).argmax(1)
    assert torch.equal(found.predicted, expected)
    assert torch.equal(found.correct, (expected == test_labels).double())
    assert found.accuracy == float(found.correct.mean())


def test_refit_sees_training_and_validation() -> None:
    train, y, validation, validation_labels, test, _ = parts = data()
    found = run(parts, rates=(0.3,))
    x, both = torch.cat([train, validation]), torch.cat([y, validation_labels])
    mean, deviation = x.mean(0), x.std(0, correction=0)
    head = by_torch((x - mean) / deviation, both, 0.3, "cosine", 0.0, before=9)
    assert torch.equal(found.predicted, 3 * head((test - mean) / deviation).argmax(1))


def test_comes_close_to_logistic_regression() -> None:
    train, y, _, _, test, test_labels = parts = data()
    oracle = LogisticRegression(C=1e4, max_iter=2000).fit(train.numpy(), y.numpy())
    expected = oracle.predict(test.numpy()) == test_labels.numpy()
    found = run(parts, epochs=60, refit=False)
    assert found.accuracy == pytest.approx(float(expected.mean()), abs=0.05)
    assert 0.5 < found.accuracy < 1


def test_scale_of_the_features_does_not_matter_when_standardized() -> None:
    parts = data()
    scaled = tuple(p * 8 if p.is_floating_point() else p for p in parts)
    assert torch.equal(run(scaled).predicted, run(parts).predicted)  # type: ignore[arg-type]
    other = run(scaled, standardize=False, rates=(0.01,)).predicted  # type: ignore[arg-type]
    assert not torch.equal(other, run(parts, standardize=False, rates=(0.01,)).predicted)


def test_a_constant_dimension_is_harmless() -> None:
    parts = data()
    wider = tuple(torch.cat([p, torch.full((len(p), 1), 1e4)], 1) if p.ndim == 2 else p for p in parts)
    assert torch.equal(run(wider).predicted, run(parts).predicted)  # type: ignore[arg-type]


def test_same_seed_same_result_and_test_is_not_looked_at() -> None:
    parts = data()
    first, second = run(parts), run((*parts[:4], parts[4].flip(0), 3 - parts[5]))
    assert first.validation == second.validation
    assert first.learning_rate == second.learning_rate
    assert torch.equal(first.predicted, second.predicted.flip(0))


def test_a_rate_that_diverges_is_not_chosen() -> None:
    parts = data()
    found = run(parts, rates=(0.1, 1e38), weight_decay=1.0, epochs=30)
    assert found.learning_rate == 0.1
    assert math.isnan(found.validation[1e38])
    with pytest.raises(InputError, match="diverged at every rate"):
        run(parts, rates=(1e38,), weight_decay=1.0, epochs=30)


def test_a_class_that_training_lacks_is_wrong() -> None:
    parts = data()
    found = run((*parts[:5], torch.full_like(parts[5], 99)))
    assert found.accuracy == 0


def test_bad_input() -> None:
    parts = data()
    for change, words in (
        ({"epochs": 0}, "epochs"),
        ({"rates": ()}, "rates"),
        ({"rates": (-1.0,)}, "rates"),
        ({"schedule": "cosin"}, "schedule"),
    ):
        with pytest.raises(InputError, match=words):
            run(parts, **change)
    with pytest.raises(InputError, match="test must be"):
        run((*parts[:4], parts[4][:, :2], parts[5]))
    with pytest.raises(InputError, match="validation_labels"):
        run((*parts[:3], parts[3][1:], *parts[4:]))
    with pytest.raises(InputError, match="train: 150 of 150"):
        run((parts[0] * torch.nan, *parts[1:]))

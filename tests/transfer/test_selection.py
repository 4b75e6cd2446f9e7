"""What validation chooses: accuracy, then cross-entropy, then the middle, never an extreme among equals."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from torch import Tensor, nn

from metatc2.metrics.selection import choose, validation_loss
from metatc2.transfer.protocols.fine_tune import fine_tune
from metatc2.transfer.protocols.linear import L2_GRID, linear
from metatc2.transfer.protocols.linear_sgd import linear_sgd
from metatc2.transfer.protocols.semi_supervised import semi_supervised_linear
from metatc2.transfer.protocols.semi_supervised_fine_tune import semi_supervised_fine_tune

Sides = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]
NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("accuracy", "loss", "place"),
    [
        ([0.1, 0.9, 0.3], [0.0, 9.0, 0.0], 1),  # accuracy first
        ([0.9, 0.9, 0.9], [0.3, 0.2, 0.4], 1),  # then cross-entropy
        ([0.9, 0.9, 0.8], [0.3, 0.2, 0.1], 1),  # not of a worse one
        ([1.0] * 45, [0.0] * 45, 22),  # then the middle
        ([1.0] * 4, [0.0] * 4, 1),
        ([1.0, 1.0, 0.0, 0.0], [0.0] * 4, 1),  # of two middle ones the inner
        ([0.0, 0.0, 1.0, 1.0], [0.0] * 4, 2),
        ([1.0, 1.0, 1.0, 0.0, 0.0], [0.0, 5e-5, 5e-5, 0.0, 0.0], 1),  # differences that are none
        ([NAN, 0.2, 0.1], [0.0, 1.0, 1.0], 1),
        ([0.9, 0.2, 0.1], [NAN, 1.0, 1.0], 1),
        ([0.9, 0.2, 0.1], [INF, 1.0, 1.0], 1),
        ([INF, 0.2, 0.1], [0.0, 1.0, 1.0], 1),
    ],
)
def test_the_rule(accuracy: list[float], loss: list[float], place: int) -> None:
    assert choose(torch.tensor(accuracy), torch.tensor(loss)) == (place,)


def test_the_rule_on_two_axes() -> None:
    assert choose(torch.ones(5, 3), torch.zeros(5, 3)) == (2, 1)
    accuracy = torch.ones(4, 5)
    accuracy[2:] = NAN
    assert choose(accuracy, torch.zeros(4, 5)) == (1, 2)
    assert choose(torch.full((2, 2), NAN), torch.zeros(2, 2)) is None


@pytest.mark.parametrize("per_class", [False, True])
def test_cross_entropy_equals_scikit_learn(per_class: bool) -> None:
    g = torch.Generator().manual_seed(0)
    names, labels = torch.tensor([2, 5, 11]), torch.tensor([2, 5, 11])[torch.randint(3, (50,), generator=g)]
    scores = torch.randn(50, 3, generator=g, dtype=torch.float64)
    weight = (1 / labels.bincount()[labels].double()).numpy() if per_class else None
    oracle = log_loss(labels.numpy(), scores.softmax(1).numpy(), labels=names.tolist(), sample_weight=weight)
    assert validation_loss(scores, names, labels, per_class=per_class) == pytest.approx(oracle)
    assert validation_loss(scores, names, labels + 100) == 0


def separated(seed: int = 0) -> Sides:
    """300 points of 3 separated classes in 20 dimensions, 150 to train, 70 to choose, 80 to test."""
    return cut(torch.arange(300) % 3, seed, 3)


def unequal(seed: int) -> Sides:
    g = torch.Generator().manual_seed(100 + seed)
    labels = torch.multinomial(torch.tensor([0.8, 0.14, 0.06]), 300, replacement=True, generator=g)
    for first in (0, 150, 220):
        labels[first : first + 3] = torch.arange(3)
    return cut(labels, seed, 2)


def cut(labels: Tensor, seed: int, apart: float) -> Sides:
    g = torch.Generator().manual_seed(seed)
    x = apart * torch.randn(3, 20, generator=g)[labels] + torch.randn(300, 20, generator=g)
    return x[:150], labels[:150], x[150:220], labels[150:220], x[220:], labels[220:]


def test_among_equals_the_linear_protocol_does_not_take_the_strongest() -> None:
    found = linear(*separated())
    assert torch.equal(found.validation, torch.ones(45, dtype=torch.float64))
    assert L2_GRID[0] < found.l2 < 1
    assert found.accuracy == 1
    assert float(found.validation_loss[L2_GRID.index(found.l2)]) <= float(found.validation_loss.min()) + 1e-4


@pytest.mark.parametrize("problems", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_easy_problems_lose_nothing_by_the_choice(problems: int) -> None:
    """On problems with classes of unequal size the choice is scikit-learn's with the same rule, and costs no accuracy."""
    grid = (1e-3, 1e-1, 1e1, 1e3, 1e5)
    for seed in range(problems):
        x, y, xv, yv, xt, yt = sides = unequal(seed)
        found = linear(*sides, grid=grid)
        assert found.l2 < grid[-1]
        best = linear(x, y, xv, yv, xt, yt, grid=(1.0,)).accuracy
        assert found.accuracy >= best - 0.05
        if seed == 0:
            models = [LogisticRegression(C=1 / l2, tol=1e-8, max_iter=5000).fit(x.numpy(), y.numpy()) for l2 in grid]
            accuracy = torch.tensor([float(m.score(xv.numpy(), yv.numpy())) for m in models])
            losses = torch.tensor([log_loss(yv.numpy(), m.predict_proba(xv.numpy()), labels=[0, 1, 2]) for m in models])
            np.testing.assert_allclose(found.validation, accuracy, atol=1e-6)
            np.testing.assert_allclose(found.validation_loss, losses, atol=2e-3)
            assert (grid.index(found.l2),) == choose(accuracy, losses)


def images(sides: Sides) -> Sides:
    """The first 16 dimensions as pixels, so that fine-tuning has the same problem."""
    made = [
        (40 * s[:, :16] + 128).clamp(0, 255).byte().view(-1, 1, 4, 4) if s.is_floating_point() else s for s in sides
    ]
    return tuple(made)  # type: ignore[return-value]


def chosen(protocol: str, sides: Sides) -> tuple[dict[str, float], Tensor, Tensor, list[tuple[float, ...]]]:
    """Chosen values, then accuracies and losses on validation over the grid."""
    generator = torch.Generator().manual_seed(0)
    if protocol == "linear-sgd":
        found = linear_sgd(*sides, generator=generator, epochs=5, rates=(0.1, 0.3, 1.0, 3.0))
        points = [(rate,) for rate in found.validation]
        values = [found.validation, found.validation_loss]
        return {"rate": found.learning_rate}, *(torch.tensor(list(v.values())) for v in values), points
    if protocol == "semi-supervised":
        semi = semi_supervised_linear(*sides, fraction=0.5)
        values = [semi.validation, semi.validation_loss]
        return dict(semi.chosen), *(torch.tensor(list(v.values())) for v in values), list(semi.validation)
    encoder, options = nn.Sequential(nn.Flatten(), nn.Linear(16, 8)), {"rates": (0.03, 0.1, 0.3)}
    options |= {"weight_decays": (0.0, 1e-4, 1e-3), "steps": 15}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        nn.init.orthogonal_(encoder[1].weight)
    function: Callable[..., object] = fine_tune
    if protocol == "semi-supervised-fine-tune":
        options["fraction"] = 0.5
        function = semi_supervised_fine_tune
    tuned = function(encoder, *images(sides), generator=generator, **options)
    validation, losses = tuned.validation, tuned.validation_loss  # type: ignore[attr-defined]
    if isinstance(validation, dict):
        picked = dict(tuned.chosen)  # type: ignore[attr-defined]
        return picked, *(torch.tensor(list(v.values())) for v in (validation, losses)), list(validation)
    points = [(r, d) for r in tuned.rates for d in tuned.weight_decays]  # type: ignore[attr-defined]
    picked = {"rate": tuned.learning_rate, "decay": tuned.weight_decay}  # type: ignore[attr-defined]
    return picked, validation.flatten(), losses.flatten(), points


@pytest.mark.parametrize("protocol", ["linear-sgd", "semi-supervised", "fine-tune", "semi-supervised-fine-tune"])
def test_every_protocol_that_chooses_follows_the_rule(protocol: str) -> None:
    picked, accuracy, losses, points = chosen(protocol, separated())
    shape = (-1,) if len(points[0]) == 1 else (3, 3)
    place = choose(accuracy.view(shape), losses.view(shape))
    assert place is not None
    flat = place[0] if len(place) == 1 else 3 * place[0] + place[1]
    assert tuple(picked.values()) == points[flat]
    tied = accuracy == accuracy.max()
    assert int(tied.sum()) > 1
    assert float(losses[flat]) <= float(losses[tied].min()) + 1e-4


@pytest.mark.parametrize(
    "grid", [(1e-6, 1e-5, 1e-4, 1e-3), (1e-3, 1e-4, 1e-5, 1e-6), (1e-4, 1e-6, 1e-3, 1e-5, 1e-6, 1e-6)]
)
def test_of_two_middle_values_the_weaker_is_taken_in_every_protocol(grid: tuple[float, ...]) -> None:
    """All values tie on far-apart classes: the order in which a grid is written, or a value named twice, decides nothing."""
    y = torch.arange(24) % 2
    x = 100 * (2.0 * y[:, None] - 1) + torch.randn(24, 2, generator=torch.Generator().manual_seed(0))
    found = linear(x, y, x, y, x, y, grid=grid)
    assert float(found.validation_loss.max()) < 1e-4
    assert found.l2 == 1e-5
    labeled = semi_supervised_linear(x, y, x, y, x, y, fraction=1.0, l2=grid)
    assert labeled.chosen == {"l2": 1e-5}

"""Gradient agreement: restated in numpy, and tasks whose expected gradients are known exactly."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from metatc2.diagnostics import Agreement, cosines, gradient_agreement, grams, task_conflict, task_gradients
from metatc2.diagnostics.agreement import _measure
from metatc2.diagnostics.kinds import Kinds
from metatc2.diagnostics.resplits import resplit
from metatc2.episodes import Episode, Samples
from metatc2.episodes.episode import TaskIdentity
from metatc2.errors import InputError
from metatc2.inner import Params
from metatc2.metrics.null import FEWEST


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def cut(x: Tensor, support: int, kinds: list[int] | None = None, names: tuple[str, ...] = ("a", "b", "c")) -> Episode:
    whole = Samples(x, None, None, torch.zeros(x.shape[:2], dtype=torch.int64))
    identity = None if kinds is None else TaskIdentity(torch.tensor(kinds), names, torch.zeros(len(kinds), 0))
    return Episode(whole.map(lambda t: t[:, :support]), whole.map(lambda t: t[:, support:]), identity)


def squared(params: Params, x: Tensor) -> Tensor:
    """Its gradient at w = 0 is ``−mean(x)`` of the samples: expected gradients are the tasks' centers, up to the sign."""
    return (torch.cat([params["first.w"], params["second.w"]]) - x).square().sum(1).mean() / 2


def start(dim: int = 4) -> Params:
    return {"first.w": torch.zeros(dim - 1), "second.w": torch.zeros(1)}


def gaussian(centers: list[list[float]], seed: int, samples: int = 32, noise: float = 1.0) -> Tensor:
    middle = torch.tensor(centers)[:, None]
    return middle + noise * torch.randn(len(centers), samples, middle.shape[-1], generator=seeded(seed))


def several(centers: list[list[float]], seed: int, episodes: int = 6, **options: float) -> list[Episode]:
    return [cut(gaussian(centers, 1000 * seed + i, **options), 16) for i in range(episodes)]  # type: ignore[arg-type]


def measured(centers: list[list[float]], seed: int, resplits: int = FEWEST, **options: float) -> Agreement:
    episodes = several(centers, seed, **options)
    return gradient_agreement(squared, start(len(centers[0])), episodes, generator=seeded(seed), resplits=resplits)


def test_figures_restated() -> None:
    """Two episodes of three tasks, gradients and products by hand, block by block."""
    episodes = [cut(gaussian([[1, 0, 2, 1], [0, 1, 1, -1], [1, 1, 0, 3]], seed).double(), 20) for seed in range(2)]
    params = {name: value.double() for name, value in start().items()}
    found = gradient_agreement(squared, params, episodes, generator=seeded())
    for block, columns in {"all": slice(0, 4), "first": slice(0, 3), "second": slice(3, 4)}.items():
        gram, squares = np.zeros((3, 3)), []
        for episode in episodes:
            g1 = -episode.support.images.mean(1).numpy()[:, columns]
            g2 = -episode.query.images.mean(1).numpy()[:, columns]
            gram += (g1 @ g2.T + g2 @ g1.T) / 4
            squares += [(g1**2).sum(1).mean(), (g2**2).sum(1).mean()]
        within = np.trace(gram) / 3
        between = (gram.sum() - np.trace(gram)) / 6
        assert found.within[block].value == pytest.approx(within)
        assert found.between[block].value == pytest.approx(between)
        assert found.difference[block].value == pytest.approx(within - between)
        assert found.signal[block].value == pytest.approx(within / np.mean(squares))
        ratio = found.ratio[block]
        assert ratio is not None
        assert ratio.value == pytest.approx(between / within)
        for i, j in itertools.product(range(3), repeat=2):
            assert found.cosines[block][i][j] == pytest.approx(gram[i, j] / np.sqrt(gram[i, i] * gram[j, j]))
    assert (found.tasks, found.support, found.query, found.episodes, found.resplits) == (3, 20, 12, 2, 39)
    assert (found.kinds, found.pairs) == (("task 1", "task 2", "task 3"), ())


def test_each_draw_of_the_null_is_the_figure_of_a_deal() -> None:
    episode = cut(gaussian([[2, 0, 0, 0], [0, 2, 0, 0]], 1), 16)
    found = gradient_agreement(squared, start(), episode, generator=seeded(5))
    generator, draws = seeded(5), []
    for _ in range(39):
        g1, g2 = (-side.mean(1).double().numpy() for side in resplit(episode, generator))
        gram = g1 @ g2.T
        draws.append(np.trace(gram) / 2 - (gram[0, 1] + gram[1, 0]) / 2)
    null = found.difference["all"]
    assert null.null_mean == pytest.approx(np.mean(draws), abs=1e-6)
    assert (null.null_low, null.null_high) == (
        pytest.approx(min(draws), abs=1e-6),
        pytest.approx(max(draws), abs=1e-6),
    )
    ratio = found.ratio["all"]
    assert ratio is not None
    assert ratio.null_mean == pytest.approx(1 - np.mean(draws) / found.within["all"].value, abs=1e-6)


@pytest.mark.parametrize("episodes", [200, pytest.param(400, marks=pytest.mark.slow)])
def test_estimates_are_unbiased_where_one_batch_is_not(episodes: int) -> None:
    """Over many draws of noisy tasks the products average to those of the centers; plain cosines stay far below."""
    centers = torch.tensor([[0.5, 0.0, 0.5, 0.0], [0.5, 0.5, 0.0, 0.0]])
    sides = [gaussian(centers.tolist(), seed, samples=8).split(4, 1) for seed in range(episodes)]
    kinds = Kinds(("a", "b"), (torch.arange(2),) * episodes, known=True)
    found = _measure(squared, start(), sides, {}, kinds)["all"]  # type: ignore[arg-type]
    gram = (centers @ centers.T).double()
    torch.testing.assert_close(found.gram, gram, atol=0.1, rtol=0)  # three standard errors of 400 or more
    assert found.gram[0, 1] / (found.gram[0, 0] * found.gram[1, 1]).sqrt() == pytest.approx(0.5, abs=0.15)
    assert found.figures()["signal"] == pytest.approx(0.5 / (0.5 + 4 / 4), abs=0.06)  # |center|² of |center|² + d/n
    plain = [cosines(grams(task_gradients(squared, start(), first), {})["all"]).item() for first, _ in sides]
    assert np.mean(plain) < 0.3


def test_tasks_of_one_law_agree_and_opposed_ones_oppose(seed_offset: int, few_draws: int) -> None:
    same = measured([[1, 1, 0, 1], [1, 1, 0, 1]], seed_offset, few_draws)
    assert same.ratio["all"] is not None
    assert same.ratio["all"].value == pytest.approx(1, abs=0.1)
    opposed = measured([[1, 1, 0, 1], [-1, -1, 0, -1]], seed_offset, few_draws)
    assert opposed.ratio["all"] is not None
    assert opposed.ratio["all"].value == pytest.approx(-1, abs=0.1)
    assert opposed.ratio["all"].outside
    assert opposed.difference["all"].outside
    assert opposed.difference["all"].value > opposed.difference["all"].null_high
    assert opposed.cosines["all"][0][1] == pytest.approx(-1, abs=0.15)
    assert opposed.signal["all"].value > 0.8


def test_directions_may_agree_where_lengths_do_not(seed_offset: int, few_draws: int) -> None:
    found = measured([[1, 1, 0, 1], [3, 3, 0, 3]], seed_offset, few_draws)
    assert found.ratio["all"] is not None
    assert found.ratio["all"].value == pytest.approx(3 / 5, abs=0.1)  # 3 |c|² over (1 + 9) |c|² / 2
    assert found.cosines["all"][0][1] == pytest.approx(1, abs=0.1)


@pytest.mark.slow  # a draw is asserted exactly above
@pytest.mark.parametrize("center", [0.0, 0.7])
def test_the_null_holds_as_often_as_promised(center: float, seed_offset: int) -> None:
    runs = [measured([[center] * 3] * 2, seed, episodes=1) for seed in range(seed_offset, seed_offset + 24)]
    outside = sum(run.difference["all"].outside for run in runs)
    assert outside <= 4  # 24 times 5 % is 1.2
    assert 0.3 < sum(run.difference["all"].quantile for run in runs) / 24 < 0.7


def test_without_signal_there_is_no_ratio(few_draws: int) -> None:
    found = next(
        run
        for run in (measured([[0.0] * 4] * 2, seed, few_draws, episodes=1) for seed in range(20))
        if run.within["all"].value <= 0
    )
    assert found.ratio["all"] is None
    assert None in (found.cosines["all"][0][0], found.cosines["all"][1][1])
    assert found.signal["all"].value <= 0


def test_kinds_bring_tasks_together_whatever_their_place(seed_offset: int, few_draws: int) -> None:
    centers = [[1.0, 1, 0, 0], [-1.0, -1, 0, 0], [1.0, 0, 1, 0]]
    orders = [[0, 1, 2], [2, 0, 1], [1, 2, 0], [0, 2, 1]]
    episodes = [
        cut(gaussian([centers[k] for k in order], seed_offset + i, noise=0.1), 16, order)
        for i, order in enumerate(orders)
    ]
    found = gradient_agreement(squared, start(), episodes, generator=seeded(), resplits=few_draws)
    assert found.kinds == ("a", "b", "c")
    gram = torch.tensor(centers) @ torch.tensor(centers).T
    for a, b in itertools.product(range(3), repeat=2):
        expected = float(gram[a, b] / (gram[a, a] * gram[b, b]).sqrt())
        assert found.cosines["all"][a][b] == pytest.approx(expected, abs=0.05)
    assert [(pair.first, pair.second) for pair in found.pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    apart = {(pair.first, pair.second): pair.difference.value for pair in found.pairs}
    assert apart["a", "b"] == pytest.approx(4, abs=0.2)  # |c_a − c_b|² / 2
    assert apart["a", "c"] == pytest.approx(1, abs=0.2)
    assert sum(apart.values()) / 3 == pytest.approx(found.difference["all"].value)

    gains = task_conflict(squared, start(), episodes, generator=seeded(), lr=0.1, resplits=few_draws)
    assert gains.kinds == ("a", "b", "c")
    for i, j in itertools.product(range(3), repeat=2):  # 1st order: lr <g_i, g_j>; 2nd: lr² |g_i|² / 2
        expected = float(0.1 * gram[i, j] - 0.005 * gram[i, i])
        assert gains.gains[i][j] == pytest.approx(expected, abs=0.03)
    by_name = {(pair.step, pair.evaluated): pair.gain for pair in gains.pairs}
    assert by_name["a", "b"].value == gains.gains[0][1] < 0
    assert by_name["a", "b"].outside
    assert by_name["a", "a"].value > 0


def test_two_tasks_of_one_kind_and_kinds_that_never_meet(few_draws: int) -> None:
    a, b, c = [1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 1.0, 0]
    episodes = [
        cut(gaussian([a, a, b], 0, noise=0.1), 16, [0, 0, 1]),
        cut(gaussian([b, c, c], 1, noise=0.1), 16, [1, 2, 2]),
    ]
    found = gradient_agreement(squared, start(), episodes, generator=seeded(), resplits=few_draws)
    assert found.cosines["all"][0][2] is None  # a and c never meet
    assert [(pair.first, pair.second) for pair in found.pairs] == [("a", "b"), ("b", "c")]
    assert found.within["all"].value == pytest.approx(1, abs=0.1)
    gains = task_conflict(squared, start(), episodes, generator=seeded(), resplits=few_draws)
    assert np.isnan(gains.gains[0][2])
    assert len(gains.pairs) == 7


def test_kinds_that_never_differ_within_an_episode_are_places() -> None:
    x = gaussian([[1.0, 0, 0, 0]] * 2, 0)
    found = gradient_agreement(squared, start(), cut(x, 16, [2, 2]), generator=seeded())
    assert (found.kinds, found.pairs) == (("task 1", "task 2"), ())


def test_conflict_without_kinds_is_as_it_was(few_draws: int) -> None:
    episodes = several([[1, 0, 0, 0], [0, 1, 0, 0]], 3, episodes=3)
    few = {"resplits": few_draws}
    found = task_conflict(squared, start(), episodes, generator=seeded(), **few)
    single = [task_conflict(squared, start(), episode, generator=seeded(), **few).gains for episode in episodes]
    torch.testing.assert_close(torch.tensor(found.gains), torch.tensor(single).mean(0))
    assert (found.kinds, found.pairs) == (("task 1", "task 2"), ())


def test_blocks_without_gradient_are_named(few_draws: int) -> None:
    params = {**start(), "unused.w": torch.ones(2)}
    episodes = several([[1, 0, 0, 0], [0, 1, 0, 0]], 0, episodes=2)
    found = gradient_agreement(squared, params, episodes, generator=seeded(), resplits=few_draws)
    assert found.without_gradient == ("unused",)
    assert list(found.ratio) == ["all", "first", "second"]


def test_what_cannot_be_measured_is_refused() -> None:
    x = gaussian([[1.0, 0, 0, 0]] * 2, 0)

    def run(episodes: list[Episode], **options: object) -> None:
        gradient_agreement(squared, start(), episodes, **{"generator": seeded(), **options})  # type: ignore[arg-type]

    with pytest.raises(InputError, match="gradient agreement: needs at least 2 tasks with a query side, got 1"):
        run([cut(x[:1], 16)])
    with pytest.raises(InputError, match="gradient agreement: resplits must be at least 39"):
        run([cut(x, 16)], resplits=3)
    with pytest.raises(InputError, match="1 of 2 episodes say of what kind"):
        run([cut(x, 16), cut(x, 16, [0, 1])])
    with pytest.raises(InputError, match="with 2 lists of names"):
        run([cut(x, 16, [0, 1], ("a", "b")), cut(x, 16, [0, 1])])
    with pytest.raises(InputError, match=r"2 numbers from 0 to 2, one a task, got \[0, 3\]"):
        run([cut(x, 16, [0, 3])])
    with pytest.raises(InputError, match="all gradients are exactly zero"):
        gradient_agreement(lambda p, s: 0 * squared(p, s), start(), cut(x, 16), generator=seeded())

"""Our episodes in learn2learn's hands: its own code must take our support for support and our queries for queries."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from metatc2.contrib.learn2learn import AsTaskset, require_learn2learn, tasks_of
from metatc2.data import ImageStore, load
from metatc2.episodes import Episode, FromIterable, LabeledTasks, Samples, SinusoidTasks
from metatc2.errors import InputError

Sides = tuple[Tensor, Tensor, Tensor, Tensor]


class Remembering:
    """A sampler that keeps what it gave."""

    def __init__(self, sampler: LabeledTasks) -> None:
        self.sampler = sampler
        self.given: list[Episode] = []

    def sample(self) -> Episode:
        self.given.append(self.sampler.sample())
        return self.given[-1]

    def tasks(self) -> Iterator[Any]:
        for episode in self.given:
            yield from tasks_of(episode)


@pytest.fixture(scope="module")
def digits() -> ImageStore:
    return load("digits")


def tasks(digits: ImageStore, *, shot: int, query: int, way: int = 4, number: int = 3, seed: int = 0) -> Remembering:
    return Remembering(LabeledTasks(digits, way=way, shot=shot, query=query, tasks=number, seed=seed))


def by_even_places(data: Tensor, labels: Tensor, shots: int, ways: int) -> Sides:
    """The cut of learn2learn's example scripts (examples/vision/maml_omniglot.py, maml_miniimagenet.py)."""
    support = np.zeros(len(data), dtype=bool)
    support[np.arange(shots * ways) * 2] = True
    query, own = torch.from_numpy(~support), torch.from_numpy(support)
    return data[own], labels[own], data[query], labels[query]


def contents(x: Tensor, y: Tensor) -> list[tuple[int, bytes]]:
    """Samples with their labels, in an order of their own."""
    return sorted((int(label), image.numpy().tobytes()) for image, label in zip(x, y, strict=True))


def assert_went_where_it_should(found: Sides, task: Any) -> None:
    (x, y), (query_x, query_y) = task
    assert contents(found[0], found[1]) == contents(x, y)
    assert contents(found[2], found[3]) == contents(query_x, query_y)


@pytest.mark.parametrize(("shot", "way"), [(1, 5), (3, 4)])
def test_even_places_are_our_support(digits: ImageStore, shot: int, way: int) -> None:
    source = tasks(digits, shot=shot, query=shot, way=way)
    taskset = AsTaskset(source)
    drawn = [taskset.sample() for _ in range(6)]
    assert len(source.given) == 2  # three tasks an episode, none lost
    for (data, labels), task in zip(drawn, source.tasks(), strict=True):
        assert data.shape == (2 * way * shot, *digits.images.shape[1:])
        assert labels.tolist() == sorted(labels.tolist())  # class by class, as ConsecutiveLabels leaves them
        assert_went_where_it_should(by_even_places(data, labels, shot, way), task)


@pytest.mark.parametrize(("shot", "query"), [(1, 1), (2, 5), (3, 2)])
def test_learn2learns_partition_task_cuts_blocks(digits: ImageStore, shot: int, query: int) -> None:
    l2l = require_learn2learn()
    source = tasks(digits, shot=shot, query=query)
    taskset = AsTaskset(source, layout="blocks")
    drawn = [taskset.sample() for _ in range(3)]
    for (data, labels), task in zip(drawn, source.tasks(), strict=True):
        (x, y), (query_x, query_y) = l2l.data.partition_task(data, labels, shots=shot)
        assert_went_where_it_should((x, y, query_x, query_y), task)


class Spy(nn.Module):
    """A network that remembers what it was called on; clones share the memory."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layers = nn.Sequential(nn.Flatten(), nn.Linear(784, 32), nn.ReLU(), nn.Linear(32, 4))

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x)
        scores: Tensor = self.layers(x)
        return scores


@pytest.mark.filterwarnings("ignore")  # pytorch_lightning's, at import and without a trainer
def test_learn2learns_lightning_maml_adapts_on_our_support(digits: ImageStore) -> None:
    l2l, spy = require_learn2learn(), Spy()
    source = tasks(digits, shot=2, query=3)
    learner = l2l.algorithms.LightningMAML(
        spy, train_ways=4, train_shots=2, train_queries=3, test_ways=4, adaptation_steps=2
    )
    batch = AsTaskset(source, layout="blocks").sample()
    loss, _ = learner.meta_learn(batch, 0, ways=4, shots=2, queries=3)
    loss.backward()
    (x, y), (query_x, query_y) = next(source.tasks())
    assert [len(seen) for seen in spy.seen] == [8, 8, 12]
    for seen, (own, labels) in zip(spy.seen, ((x, y), (x, y), (query_x, query_y)), strict=True):
        anyhow = torch.zeros_like(labels)
        assert contents(seen, anyhow) == contents(own, anyhow)
    assert spy.layers[1].weight.grad is not None


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["even", None])
def test_learn2learns_maml_learns_our_tasks(digits: ImageStore, layout: str | None, seed_offset: int) -> None:
    """The loop of its scripts, on `AsTaskset` and on `tasks_of` (five queries a shot)."""
    l2l = require_learn2learn()
    with torch.random.fork_rng():
        torch.manual_seed(seed_offset)
        network = nn.Sequential(nn.Flatten(), nn.Linear(784, 32), nn.Tanh(), nn.Linear(32, 4))
    maml = l2l.algorithms.MAML(network, lr=0.1)
    optimizer = torch.optim.Adam(maml.parameters(), lr=0.003)
    source = tasks(digits, shot=2, query=2 if layout else 10, number=4, seed=seed_offset)
    taskset = AsTaskset(source)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        if layout:
            drawn = [by_even_places(*taskset.sample(), 2, 4) for _ in range(4)]
        else:
            drawn = [(*own, *asked) for own, asked in tasks_of(source.sample())]
        total = 0.0
        for x, y, query_x, query_y in drawn:
            learner = maml.clone()
            for _ in range(2):
                learner.adapt(cross_entropy(learner(x), y))
            loss = cross_entropy(learner(query_x), query_y)
            (loss / 4).backward()
            total += float(loss.detach()) / 4
        optimizer.step()
        losses.append(total)
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_it_is_endless_like_a_task_set_without_a_number(digits: ImageStore) -> None:
    l2l = require_learn2learn()
    theirs = l2l.data.Taskset(torch.utils.data.TensorDataset(torch.zeros(4, 1), torch.tensor([0, 0, 1, 1])))
    ours = AsTaskset(tasks(digits, shot=1, query=1))
    assert len(ours) == len(theirs) == 1
    assert len(list(islice(ours, 7))) == 7
    assert not torch.equal(ours[0][0], ours[0][0])


def test_views_are_samples() -> None:
    x = torch.arange(8.0).view(1, 2, 2, 2)
    side = Samples(x, torch.tensor([[1, 0]]), None, torch.zeros(1, 2))
    data, labels = AsTaskset(FromIterable([Episode(side, side)])).sample()
    assert labels.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert data[:, 0].tolist() == [4, 4, 6, 6, 0, 0, 2, 2]


def test_what_does_not_fit_is_said(digits: ImageStore) -> None:
    with pytest.raises(InputError, match="got 2 shots and 3 queries; sample with query=2, use layout='blocks'"):
        AsTaskset(tasks(digits, shot=2, query=3)).sample()
    with pytest.raises(InputError, match="regression tasks; use tasks_of"):
        AsTaskset(SinusoidTasks(shot=2, query=2)).sample()
    with pytest.raises(InputError, match="unknown layout 'block'; did you mean 'blocks'"):
        AsTaskset(tasks(digits, shot=1, query=1), layout="block")  # type: ignore[arg-type]
    x = torch.zeros(1, 4, 1, 2)
    own, asked = (Samples(x, torch.tensor([labels]), None, x[..., 0, 0]) for labels in ([0, 0, 1, 1], [0, 1, 1, 1]))
    for episode in (Episode(own, asked), Episode(asked, own)):
        with pytest.raises(InputError, match="same numbers of shots and of queries in every class, got shots"):
            AsTaskset(FromIterable([episode])).sample()
    with pytest.raises(InputError, match="labeled"):
        AsTaskset(FromIterable([Episode(*(Samples(x, None, None, x[..., 0, 0]),) * 2)])).sample()

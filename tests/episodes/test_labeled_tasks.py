"""Labeled tasks: labels against the store, uniform draws, epochs, ranks and workers, exact resumption, errors."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from metatc2.augment import Views
from metatc2.data import load
from metatc2.data.store import ImageStore
from metatc2.episodes import Episode
from metatc2.episodes.labeled import LabeledTasks
from metatc2.episodes.sampler import GroupOrders, TaskSource, stream
from metatc2.errors import InputError
from metatc2.training.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint

from ..covering import covered

SIZES = (3, 4, 5, 6, 7, 8, 9, 10, 11, 12)  # samples of classes 0 to 9


def store(sizes: tuple[int, ...] = SIZES) -> ImageStore:
    """Uneven classes in a mixed order; every image is different, and two scripts make a group."""
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    labels = labels[torch.randperm(len(labels), generator=g)]
    images = torch.randint(0, 256, (len(labels), 1, 8, 8), generator=g).to(torch.uint8)
    half = len(sizes) // 2
    splits = {"low": (labels < half).nonzero().flatten(), "high": (labels >= half).nonzero().flatten()}
    return ImageStore("uneven", images, labels, splits=splits, groups={"both": ("low", "high")})


def sampler(**options: Any) -> LabeledTasks:
    return LabeledTasks(store(), **{"way": 3, "shot": 1, "query": 2, "tasks": 2} | options)


def rows(episode: Episode) -> Tensor:
    return torch.cat([episode.support.index, episode.query.index], 1)


def classes(episode: Episode) -> Tensor:
    """Classes of the store by task and task-local label, ``(tasks, way)``; fails if a label stands for two classes."""
    labels, found = store().labels, []
    for task in range(len(episode.support.index)):
        pairs = set()
        for side in (episode.support, episode.query):
            assert side.labels is not None
            pairs |= set(zip(side.labels[task].tolist(), labels[side.index[task]].tolist(), strict=True))
        way = len(pairs)
        assert sorted(local for local, _ in pairs) == list(range(way))
        assert len({true for _, true in pairs}) == way
        found.append([true for _, true in sorted(pairs)])
    return torch.tensor(found)


def equal(one: Episode, other: Episode) -> bool:
    return all(
        torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels) and torch.equal(a.index, b.index)  # type: ignore[arg-type]
        for a, b in ((one.support, other.support), (one.query, other.query))
    )


@pytest.mark.parametrize("replacement", [True, False])
@pytest.mark.parametrize("split", ["all", "both"])
def test_labels_images_and_rows_belong_together(replacement: bool, split: str) -> None:
    source = sampler(way=3, shot=2, query=3, tasks=4, split=split, replacement=replacement)
    for episode in (source.sample() for _ in range(30)):
        assert episode.support.images.shape == (4, 6, 1, 1, 8, 8)
        assert episode.query.images.shape == (4, 9, 1, 1, 8, 8)
        assert episode.support.labels is not None
        assert episode.query.labels is not None
        assert episode.support.labels.dtype == episode.query.labels.dtype == torch.int64
        for task in range(4):
            assert torch.bincount(episode.support.labels[task]).tolist() == [2, 2, 2]
            assert torch.bincount(episode.query.labels[task]).tolist() == [3, 3, 3]
            assert len(rows(episode)[task].unique()) == 15  # no row twice, so none on both sides
        classes(episode)
        torch.testing.assert_close(episode.images[:, :, 0], store().images[rows(episode)].float() / 255)
        assert episode.support.descriptors is None


@pytest.mark.parametrize(("replacement", "split"), covered((True, False), ("all", "both"), strength=1))
def test_classes_and_samples_are_uniform(replacement: bool, split: str, seed_offset: int) -> None:
    # Classes 2 to 9 qualify: three in "low", five in "high", which a task never mixes.
    source = sampler(way=2, shot=2, query=3, tasks=500, split=split, replacement=replacement, seed=seed_offset + 1)
    episodes = [source.sample() for _ in range(4)]
    drawn = torch.cat([classes(e) for e in episodes])
    assert source.classes == 8
    assert source.excluded == 2
    assert int(drawn.min()) == 2
    # Draws of one task or epoch exclude each other, which makes counts more even than chance, never less. The epochs of a group
    # leave over one of three classes and one of five, so they are even within a member.
    parts = [range(2, 5), range(5, 10)] if split == "both" and not replacement else [range(2, 10)]
    for place in range(2):
        counts = drawn[:, place].bincount(minlength=10)
        assert all(stats.chisquare(counts[list(part)]).pvalue > 1e-6 for part in parts)
    for side in ("support", "query"):
        index = torch.cat([getattr(e, side).index.flatten() for e in episodes])
        for label in range(2, 10):
            members = (store().labels == label).nonzero().flatten()
            counts = index.bincount(minlength=len(store()))[members]
            assert stats.chisquare(counts).pvalue > 1e-6


def test_a_group_is_never_mixed_and_all_its_members_come(seed_offset: int) -> None:
    source = sampler(way=3, shot=2, query=2, tasks=50, split="both", seed=seed_offset)
    high = classes(source.sample()) >= 5
    assert bool((high.all(1) | (~high).all(1)).all())
    assert 0 < int(high.all(1).sum()) < 50


def test_meta_splits_stay_disjoint_on_glyphs() -> None:
    glyphs = load("glyphs", image_size=28)
    seen: dict[str, set[int]] = {}
    for split in ("meta-train", "meta-validation", "meta-test"):
        source = LabeledTasks(glyphs, way=5, shot=1, query=5, tasks=200, split=split)
        index = rows(source.sample())
        assert bool(torch.isin(index, glyphs.rows(split)).all())
        seen[split] = set(glyphs.labels[index].flatten().tolist())
        if split == "meta-test":
            members = torch.stack([torch.isin(index, glyphs.splits[m]) for m in glyphs.groups[split]])
            assert bool((members.all(2).sum(0) == 1).all())  # each task in one script
            assert bool(members.all(2).any(1).all())
    assert not seen["meta-train"] & seen["meta-validation"]
    assert not seen["meta-test"] & (seen["meta-train"] | seen["meta-validation"])


def test_without_replacement_no_class_comes_twice_in_an_epoch(seed_offset: int) -> None:
    # 10 classes in threes: an epoch is 3 tasks, in which 9 different classes come.
    source = sampler(way=3, shot=1, query=2, tasks=3, replacement=False, seed=seed_offset)
    missing = []
    for _ in range(20):
        drawn = classes(source.sample()).flatten().tolist()
        assert len(set(drawn)) == 9
        missing += list(set(range(10)) - set(drawn))
    assert len(set(missing)) > 1
    # With replacement, nine different ones in a row would be luck.
    other = sampler(way=3, shot=1, query=2, tasks=3, seed=seed_offset)
    assert any(len(set(classes(other.sample()).flatten().tolist())) < 9 for _ in range(5))


@pytest.mark.parametrize("draws", [200, pytest.param(600, marks=pytest.mark.slow)])
def test_an_epoch_of_a_group_visits_all_members_to_the_end(seed_offset: int, draws: int) -> None:
    # Two members of five classes, in pairs: an epoch is 4 tasks.
    source = sampler(way=2, shot=1, query=2, tasks=4, split="both", replacement=False, seed=seed_offset)
    same = 0
    for _ in range(draws):
        drawn = classes(source.sample())
        assert len(drawn.unique()) == 8
        high = (drawn >= 5).all(1)
        assert int(high.sum()) == int((drawn < 5).all(1).sum()) == 2
        same += int(high[0] == high[1])
    # After the first task, three classes are left in its member and five in the other.
    assert stats.binomtest(same, draws, 3 / 8).pvalue > 1e-6


def test_without_replacement_samples_come_round_too() -> None:
    # Classes of six samples, three of which are taken at a time: two visits see each once.
    source = LabeledTasks(store((6, 6, 6)), way=3, shot=1, query=2, tasks=1, replacement=False)
    for _ in range(10):
        two = torch.cat([rows(source.sample()), rows(source.sample())], 1)
        assert two.flatten().sort().values.tolist() == list(range(18))


@pytest.mark.parametrize("draws", [250, pytest.param(600, marks=pytest.mark.slow)])
def test_variable_way_and_shot_are_shared_by_the_tasks_of_an_episode(seed_offset: int, draws: int) -> None:
    source = sampler(way=(2, 4), shot=(1, 3), query=2, tasks=3, seed=seed_offset)
    assert source.excluded == 2  # those that cannot give the largest shot
    shapes = []
    for episode in (source.sample() for _ in range(draws)):
        assert episode.support.labels is not None
        way = int(episode.support.labels.max()) + 1
        assert classes(episode).shape == (3, way)
        shapes.append((way - 2) * 3 + episode.support.labels.shape[1] // way - 1)
        assert episode.query.images.shape[:2] == (3, 2 * way)
    assert stats.chisquare(torch.tensor(shapes).bincount(minlength=9)).pvalue > 1e-6


def test_views_are_recorded() -> None:
    recipe = Views.glyphs()
    episode = sampler(views=recipe, tasks=3).sample()
    for side in (episode.support, episode.query):
        assert side.descriptors is not None
        assert side.images.shape[:3] == side.descriptors.shape[:3] == (3, side.index.shape[1], 1)
        # The descriptors of an image make it again.
        again = recipe.apply(store().images[side.index.flatten()], side.descriptors.flatten(0, 2))
        assert torch.equal(again.view(side.images.shape), side.images)


@pytest.mark.parametrize("replacement", [True, False])
@pytest.mark.parametrize("views", [None, Views.glyphs()])
def test_state_in_the_middle_of_an_epoch(replacement: bool, views: Views | None, tmp_path: Any) -> None:
    def make(seed: int) -> LabeledTasks:
        return sampler(way=(2, 3), split="both", replacement=replacement, views=views, seed=seed)

    source = make(1)
    for _ in range(3):
        source.sample()
    state = source.state_dict()
    save_checkpoint(tmp_path, 3, {"sampler": state}, {})
    ahead = [source.sample() for _ in range(8)]
    found = latest_checkpoint(tmp_path)
    assert found is not None
    for kept in (state, state, load_checkpoint(found)[1]["sampler"]):  # going on leaves a state as it is
        other = make(2)
        other.sample()
        other.load_state_dict(kept)
        assert all(equal(other.sample(), episode) for episode in ahead)


def test_seeds_and_ranks() -> None:
    def first(**options: Any) -> Tensor:
        return rows(sampler(tasks=20, **options).sample())

    assert torch.equal(first(seed=3), first(seed=3))
    draws = [first(seed=seed, rank=rank) for seed in range(3) for rank in range(3)]
    assert all(not torch.equal(a, b) for i, a in enumerate(draws) for b in draws[:i])
    # Not even single tasks are shared: 5-sets of rows out of 75 that coincide would be no chance.
    tasks = [tuple(task) for draw in draws for task in draw.tolist()]
    assert len(set(tasks)) == len(tasks)


def loader(source: IterableDataset[Any], seed: int, workers: int = 2) -> DataLoader[Any]:
    return DataLoader(
        source, batch_size=None, num_workers=workers, generator=torch.Generator().manual_seed(seed), prefetch_factor=2
    )


@pytest.mark.slow
@pytest.mark.parametrize("replacement", [True, False])
def test_workers_of_a_loader_draw_different_tasks(replacement: bool) -> None:
    source = sampler(way=4, tasks=2, replacement=replacement)

    def draw(seed: int) -> list[Episode]:
        return list(islice(loader(source, seed), 6))

    episodes = draw(0)
    for episode in episodes:
        assert isinstance(episode, Episode)
        classes(episode)
    tasks = [tuple(task) for episode in episodes for task in rows(episode).tolist()]
    assert len(set(tasks)) == len(tasks) == 12
    assert all(equal(a, b) for a, b in zip(episodes, draw(0), strict=True))
    # A second pass, for which the loader's seed is another, is not the first again; nor is another rank.
    others = draw(1) + list(islice(loader(sampler(way=4, tasks=2, replacement=replacement, rank=1), 0), 6))
    assert not {tuple(task) for episode in others for task in rows(episode).tolist()} & set(tasks)


@pytest.mark.slow
def test_workers_shuffle_decks_of_their_own() -> None:
    firsts = []
    for seed in range(2):
        source = sampler(way=2, tasks=1, replacement=False, seed=seed)
        source.sample()  # a copy of these orders goes to both workers
        firsts.append([classes(episode).tolist() for episode in islice(loader(source, 0), 2)])
    assert any(one != other for one, other in firsts)


class InWorker(IterableDataset[Any]):
    """Takes a state in a worker or continues from one there, as stateful loaders do."""

    def __init__(self, source: TaskSource, state: dict[str, Any] | None = None) -> None:
        self.source, self.state = source, state

    def __iter__(self) -> Iterator[Any]:
        if self.state is None:
            self.source.sample()
            yield pickle.dumps(self.source.state_dict())
        else:
            self.source.load_state_dict(self.state)
        yield from self.source


def test_a_worker_can_be_resumed() -> None:
    state, *ahead = islice(loader(InWorker(sampler()), 0, 1), 4)
    again = islice(loader(InWorker(sampler(seed=9), pickle.loads(state)), 5, 1), 3)
    assert all(equal(a, b) for a, b in zip(ahead, again, strict=True))


def test_a_sampler_can_be_sent_to_another_process() -> None:
    source = sampler(replacement=False, views=Views.glyphs())
    source.sample()
    assert equal(pickle.loads(pickle.dumps(source)).sample(), source.sample())


def test_iteration_is_endless_sampling() -> None:
    source, other = sampler(), sampler()
    assert all(equal(a, other.sample()) for a in islice(source, 3))


@pytest.mark.parametrize("draws", [700, pytest.param(2000, marks=pytest.mark.slow)])
def test_groups_give_every_item_once_in_uniform_order(seed_offset: int, draws: int) -> None:
    orders, g = GroupOrders(torch.tensor([4, 3])), stream(seed_offset)
    tops = []
    for _ in range(draws):
        items = torch.cat([orders.draw(torch.tensor([0]), 2, g) for _ in range(2)], 1)[0]
        assert items.sort().values.tolist() == [0, 1, 2, 3]
        tops.append(int(items[0]))
        assert sorted(orders.draw(torch.tensor([1]), 3, g)[0].tolist()) == [0, 1, 2]
    assert stats.chisquare(torch.tensor(tops).bincount(minlength=4)).pvalue > 1e-6


def test_orders_that_earlier_versions_saved_are_read(seed_offset: int) -> None:
    orders, g = GroupOrders(torch.tensor([4])), stream(seed_offset)
    first = orders.draw(torch.tensor([0]), 2, g)
    state = orders.state_dict()
    again = GroupOrders(torch.tensor([4]))
    again.load_state_dict({"cards": state["items"], "left": state["left"]})
    second = again.draw(torch.tensor([0]), 2, g)
    assert torch.equal(second, orders.draw(torch.tensor([0]), 2, g))
    assert torch.cat([first, second], 1).sort().values.tolist() == [[0, 1, 2, 3]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"way": 11},
            "10 of the 10 classes of uneven:all have the 3 images .* way 11 needs 11; lower way .episode.way. to 10$",
        ),
        (
            {"way": 5, "shot": 5, "query": 4},
            "4 of the 10 .* the 9 images .* lower way .episode.way. to 4 or shot . query .* to 8$",
        ),
        ({"way": 5, "query": 2, "shot": (1, 7)}, "4 of the 10 .* the 9 images that shot 7"),
        (
            {"way": (2, 6), "split": "both"},
            "5 of the 5 classes of uneven:low have .* way 6 needs 6; lower way .episode.way. to 5$",
        ),
        ({"query": 30}, "0 of the 10 classes .* lower shot . query .* to 10$"),
        ({"split": "hgh"}, "did you mean 'high'"),
        ({"way": 1}, "way must be a whole number from 2 on or a pair .* got 1"),
        ({"way": (4, 3)}, r"way must be .* got \(4, 3\)"),
        ({"shot": 0}, "shot must be a whole number from 1 on"),
        ({"shot": (1, 2, 3)}, "shot must be"),
        ({"shot": 1.5}, "shot must be .* got 1.5"),
        ({"query": 0}, "query must be a whole number from 1 on, got 0"),
        ({"query": (1, 2)}, "query must be a whole number from 1 on, got"),
        ({"tasks": 0}, "tasks must be a whole number from 1 on, got 0"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"rank": -1}, "rank must be at least 0, got -1"),
    ],
)
def test_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        sampler(**options)


def test_a_state_of_another_sampler_is_refused() -> None:
    state = sampler(replacement=False).state_dict()
    with pytest.raises(InputError, match="replacement=False, and here it is True"):
        sampler().load_state_dict(state)
    other = sampler(replacement=False, query=4)
    before = other.state_dict()
    with pytest.raises(InputError, match="10 items in 1 groups and here there are 8 in 1"):
        other.load_state_dict(state)
    after = other.state_dict()
    assert torch.equal(before["generator"], after["generator"])


def test_a_split_of_one_class_names_one_that_has_more() -> None:
    images, labels = torch.zeros(12, 1, 4, 4, dtype=torch.uint8), torch.arange(12) % 3
    store = ImageStore("three", images, labels, splits={"one": torch.arange(0, 12, 3)})
    with pytest.raises(InputError, match=r"use another split, such as all \(data.split\), which has 3 such classes$"):
        LabeledTasks(store, shot=1, query=2, split="one")

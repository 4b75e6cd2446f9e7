"""Episodes: every image once an epoch, balanced tasks, exact resumption, clear errors."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from metatc2.augment import Views
from metatc2.data.store import ImageStore
from metatc2.episodes import Episode, SplitBatch
from metatc2.errors import InputError


def store(n: int = 40, size: int = 16) -> ImageStore:
    g = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, 1, size, size), generator=g).to(torch.uint8)
    return ImageStore("noise", images, torch.arange(n) % 5, splits={"half": torch.arange(0, n, 2)})


def styled() -> ImageStore:
    return replace(store(), domains=torch.arange(40) % 3, domain_names=("a", "b", "c"))


def rows(episode: Episode) -> torch.Tensor:
    return torch.cat([episode.support.index, episode.query.index], 1)


def test_shapes_and_contents() -> None:
    sampler = SplitBatch(store(), Views.none(), tasks=2, batch=20, support=0.3)
    episode = sampler.sample()
    assert episode.support.images.shape == (2, 3, 2, 1, 16, 16)
    assert episode.query.images.shape == (2, 7, 2, 1, 16, 16)
    assert episode.images.shape == (2, 10, 2, 1, 16, 16)
    assert episode.support.descriptors is not None
    assert episode.support.descriptors.shape[:3] == (2, 3, 2)
    assert episode.support.labels is None
    # Without augmentation, a view is the image itself: index, images and sides belong together.
    expected = store().images[rows(episode)].float() / 255
    torch.testing.assert_close(episode.images[:, :, 0], expected)
    assert episode.merged().support.index.shape == (1, 6)


def test_every_row_once_an_epoch_in_a_new_order() -> None:
    sampler = SplitBatch(store(), Views.none(), tasks=2, batch=20)
    first = torch.cat([rows(sampler.sample()).flatten() for _ in range(2)])
    second = torch.cat([rows(sampler.sample()).flatten() for _ in range(2)])
    assert first.sort().values.tolist() == list(range(40)) == second.sort().values.tolist()
    assert not torch.equal(first, second)


def test_episodes_are_the_same_as_ever() -> None:
    """Runs that are resumed or repeated meet the episodes of their seed: the order of the epoch, then views, no more."""
    sampler = SplitBatch(store(), Views.glyphs(), tasks=2, batch=16, support=0.25, seed=3)
    g = torch.Generator().manual_seed(3)
    for _ in range(2):
        order = torch.randperm(40, generator=g)
        for batch in (order[:16], order[16:32]):
            images, descriptors = Views.glyphs()(store().images[batch], g)
            episode = sampler.sample()
            assert torch.equal(rows(episode).flatten(), batch)
            assert torch.equal(episode.images.flatten(0, 1), images)
            assert episode.query.descriptors is not None
            assert torch.equal(episode.query.descriptors, descriptors.unflatten(0, (2, 8))[:, 2:])
    assert sampler.state_dict().keys() == {"generator", "order", "position"}


def test_split_is_respected() -> None:
    sampler = SplitBatch(store(), Views.none(), tasks=2, batch=10, split="half")
    assert all((rows(sampler.sample()) % 2 == 0).all() for _ in range(5))


@pytest.mark.parametrize("assign", ["random", "cluster", "domain"])
def test_state_in_the_middle_of_an_epoch(assign: str) -> None:
    def make(seed: int) -> SplitBatch:
        return SplitBatch(styled(), Views.glyphs(), tasks=2, batch=8, assign=assign, seed=seed)  # type: ignore[arg-type]

    sampler = make(1)
    for _ in range(3):
        sampler.sample()
    state = sampler.state_dict()
    ahead = [sampler.sample() for _ in range(6)]  # over the end of the epoch
    other = make(2)
    other.load_state_dict(state)
    for episode in ahead:
        again = other.sample()
        assert torch.equal(rows(again), rows(episode))
        assert torch.equal(again.images, episode.images)


def test_clusters_are_balanced_and_pure() -> None:
    g = torch.Generator().manual_seed(0)
    levels = torch.tensor([20, 90, 160, 230]).repeat(16)[torch.randperm(64, generator=g)]
    images = levels[:, None, None, None].expand(64, 1, 16, 16).to(torch.uint8).contiguous()
    sampler = SplitBatch(
        ImageStore("levels", images, torch.zeros(64, dtype=torch.int64)),
        Views.none(),
        tasks=4,
        batch=64,
        assign="cluster",
    )
    found = levels[rows(sampler.sample())]
    assert found.shape == (4, 16)
    assert all(len(task.unique()) == 1 for task in found)


def test_tasks_by_domain_hold_neighboring_domains_in_random_order() -> None:
    domains = torch.randint(0, 6, (64,), generator=torch.Generator().manual_seed(0))
    images = torch.zeros(64, 1, 16, 16, dtype=torch.uint8)
    labels = torch.zeros(64, dtype=torch.int64)
    sampler = SplitBatch(
        ImageStore("styles", images, labels, domains), Views.none(), tasks=4, batch=64, assign="domain"
    )
    found = rows(sampler.sample())
    assert torch.equal(domains[found].flatten(), domains.sort().values)
    assert not torch.equal(found.flatten(), domains.argsort(stable=True))  # within a domain: the order of the epoch


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": 3, "batch": 20}, "not divisible by tasks 3; the nearest valid batch is 21"),
        ({"tasks": 2, "batch": 60}, "fewer than a batch of 60; set episode.batch = 40"),
        ({"tasks": 10, "batch": 10}, "both sides need at least one"),
        ({"tasks": 2, "batch": 20, "support": 1.0}, "both sides need at least one"),
        ({"tasks": 2, "batch": 20, "assign": "randm"}, "did you mean 'random'"),
        ({"tasks": 2, "batch": 20, "assign": "domain"}, "has a single domain"),
        ({"tasks": 2, "batch": 20, "split": "hlf"}, "did you mean 'half'"),
    ],
)
def test_errors(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SplitBatch(store(), Views.none(), **options)  # type: ignore[arg-type]

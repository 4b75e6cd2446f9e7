"""Tasks that differ in their views: each has the recipe that its identity tells, seen in the pixels."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from scipy import stats

from metatc2.augment import DESCRIPTOR, FAMILIES, Views
from metatc2.augment.families import BASE, recipe
from metatc2.data.store import ImageStore
from metatc2.episodes import Episode, Recipes, RecipeTasks
from metatc2.errors import InputError

from ..covering import covered

KINDS: tuple[Recipes, ...] = ("drawn", "one", "all-but-one")


def noise(n: int = 40, size: int = 16, channels: int = 3) -> ImageStore:
    g = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, channels, size, size), generator=g).byte()
    return ImageStore("noise", images, torch.arange(n) % 5, splits={"half": torch.arange(0, n, 2)})


def bars(n: int = 64) -> ImageStore:
    """A bar of one color from side to side, on black: every family leaves another trace on it."""
    images = torch.zeros(n, 3, 16, 16).byte()
    images[:, :, 6:10] = torch.tensor([200, 100, 50], dtype=torch.uint8)[:, None, None]
    return ImageStore("bars", images, torch.zeros(n, dtype=torch.int64))


def rows(episode: Episode) -> torch.Tensor:
    return torch.cat([episode.support.index, episode.query.index], 1)


def lines_are_level(views: torch.Tensor) -> bool:
    return bool((views.amax(-1) - views.amin(-1) < 1e-4).all())


def shades_of_the_bar(views: torch.Tensor) -> bool:
    red, green, blue = views.unbind(-3)
    return torch.allclose(green, red / 2, atol=1e-4) and torch.allclose(blue, red / 4, atol=1e-4)


def edges_stay(views: torch.Tensor) -> bool:
    inside = torch.zeros(16, dtype=torch.bool)
    inside[6:10] = True
    return all(
        bool((part.flatten(-2).amax(-1) - part.flatten(-2).amin(-1) < 1e-4).all())
        for part in (views[..., inside, :], views[..., ~inside, :])
    )


def family_seen_in(views: torch.Tensor) -> str:
    if not lines_are_level(views):
        return "geometry"
    if shades_of_the_bar(views):
        return "scale"
    return "color" if edges_stay(views) else "blur_light"


def test_one_family_alone_is_seen_in_the_pixels() -> None:
    sampler = RecipeTasks(bars(), Views.none(), kinds="one", tasks=4, batch=64)
    orders = set()
    for _ in range(5):
        episode = sampler.sample()
        assert episode.identity is not None
        told = [episode.identity.names[kind] for kind in episode.identity.kinds.tolist()]
        assert [family_seen_in(task) for task in episode.images] == told
        assert torch.equal(episode.identity.conditions, torch.eye(4)[episode.identity.kinds])
        orders.add(tuple(told))
    assert len(orders) > 1


def test_all_families_but_one() -> None:
    sampler = RecipeTasks(bars(), Views.none(), kinds="all-but-one", tasks=4, batch=64)
    episode = sampler.sample()
    assert episode.identity is not None
    assert episode.support.descriptors is not None
    assert torch.equal(episode.identity.conditions, 1 - torch.eye(4)[episode.identity.kinds])
    assert episode.identity.names == tuple(f"all but {family}" for family in FAMILIES)
    for kind, task, how in zip(episode.identity.kinds, episode.images, episode.support.descriptors, strict=True):
        left_out = FAMILIES[int(kind)]
        assert lines_are_level(task) == (left_out == "geometry")
        # Brightness and contrast alone turn no hue: red stays above green, green above blue.
        ordered = (task[..., 0, :, :] >= task[..., 1, :, :] - 1e-4) & (task[..., 1, :, :] >= task[..., 2, :, :] - 1e-4)
        assert bool(ordered.all()) == (left_out == "color")
        assert bool((how[..., DESCRIPTOR["crop"]] == torch.tensor([0.5, 0.5, 1, 1])).all()) == (left_out == "scale")
        assert bool((how[..., DESCRIPTOR["blur"]] == 0).all()) == (left_out == "blur_light")


@pytest.mark.slow
@pytest.mark.parametrize("draws", [12, pytest.param(30, marks=pytest.mark.slow)])
def test_drawn_families_are_on_by_a_fair_coin_unless_all_are_off(draws: int) -> None:
    sampler = RecipeTasks(noise(128, size=2), tasks=64, batch=128)
    episodes = [sampler.sample() for _ in range(draws)]
    drawn = torch.cat([e.identity.conditions for e in episodes if e.identity is not None])
    assert len(drawn) == draws * 64
    on = drawn > 0
    assert bool(on.any(1).all())
    subsets = (on * 2 ** torch.arange(4)).sum(1).bincount(minlength=16)[1:]
    assert stats.chisquare(subsets.numpy()).pvalue > 0.01
    assert stats.kstest(drawn[on].numpy(), stats.uniform(0.5, 0.5).cdf).pvalue > 0.01
    assert all(e.identity is not None and not e.identity.kinds.any() for e in episodes)
    assert sampler.names == ("drawn",)


@pytest.mark.parametrize("draws", [60, pytest.param(160, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("kinds", "tasks"), covered(("one", "all-but-one"), (1, 4, 6), strength=1))
def test_kinds_are_even(kinds: Recipes, tasks: int, draws: int) -> None:
    sampler = RecipeTasks(noise(12, size=2), kinds=kinds, tasks=tasks, batch=2 * tasks)
    drawn = torch.stack([e.identity.kinds for e in (sampler.sample() for _ in range(draws)) if e.identity is not None])
    within = torch.stack([row.bincount(minlength=4) for row in drawn])
    assert int((within.amax(1) - within.amin(1)).max()) == (tasks % 4 > 0)
    assert all(stats.chisquare(place.bincount(minlength=4).numpy()).pvalue > 0.01 for place in drawn.T)


@pytest.mark.parametrize("channels", [1, 3])
def test_views_are_those_of_each_tasks_own_recipe(channels: int) -> None:
    """The batch is made at once in common units; here each task's recipe makes its own, from the same random numbers."""
    store = noise(channels=channels)
    sampler = RecipeTasks(store, tasks=4, batch=40, seed=5)
    episode = sampler.sample()
    g = torch.Generator().manual_seed(5)
    order = torch.randperm(40, generator=g)
    on = (torch.randint(1, 16, (4, 1), generator=g) >> torch.arange(4)) & 1
    strengths = on * (0.5 + 0.5 * torch.rand(4, 4, generator=g))
    assert episode.identity is not None
    assert torch.equal(episode.identity.conditions, strengths)
    assert torch.equal(rows(episode).flatten(), order)
    for task, chosen, own in zip(episode.images, order.view(4, 10), strengths, strict=True):
        expected = recipe(own.tolist())(store.images[chosen], g)[0]
        torch.testing.assert_close(task, expected, atol=1e-2 if own[3] else 1e-5, rtol=0)  # kernels are cut elsewhere


def test_descriptors_are_in_units_of_the_samplers_views() -> None:
    store = noise()
    sampler = RecipeTasks(store, tasks=2, batch=20)
    episode = sampler.sample()
    for side in (episode.support, episode.query):
        assert side.descriptors is not None
        index, how = side.index.flatten(), side.descriptors.flatten(0, 1)
        for view in range(2):
            again = sampler.views.apply(store.images[index], how[:, view])
            assert torch.equal(again, side.images.flatten(0, 1)[:, view])


def test_a_base_of_the_users_own() -> None:
    base = dataclasses.replace(BASE, invert=1.0)
    dark = ImageStore("dark", torch.zeros(8, 3, 8, 8).byte(), torch.zeros(8, dtype=torch.int64))
    assert bool((RecipeTasks(dark, base, tasks=2, batch=8).sample().images == 1).all())


@pytest.mark.parametrize("kinds", KINDS)
def test_epochs_seeds_and_resumption(kinds: Recipes) -> None:
    def make(seed: int) -> RecipeTasks:
        return RecipeTasks(noise(), kinds=kinds, tasks=3, batch=12, split="half", support=0.25, seed=seed)

    def same(one: Episode, other: Episode) -> bool:
        assert one.identity is not None
        assert other.identity is not None
        return (
            torch.equal(rows(one), rows(other))
            and torch.equal(one.images, other.images)
            and torch.equal(one.identity.kinds, other.identity.kinds)
            and torch.equal(one.identity.conditions, other.identity.conditions)
        )

    sampler, twin, other = make(1), make(1), make(2)
    for _ in range(2):
        episode = sampler.sample()
        assert episode.support.images.shape == (3, 1, 2, 3, 16, 16)
        assert len(rows(episode).unique()) == 12
        assert bool((rows(episode) % 2 == 0).all())
        assert same(episode, twin.sample())
        assert not same(episode, other.sample())
    state = sampler.state_dict()
    ahead = [sampler.sample() for _ in range(4)]
    other.load_state_dict(state)
    assert all(same(other.sample(), episode) for episode in ahead)


def test_an_epoch_has_every_image_once() -> None:
    sampler = RecipeTasks(noise(), tasks=2, batch=10)
    for _ in range(2):
        epoch = torch.cat([rows(sampler.sample()).flatten() for _ in range(4)])
        assert epoch.sort().values.tolist() == list(range(40))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": 3, "batch": 20}, "RecipeTasks: batch 20 is not divisible by tasks 3; the nearest valid batch is 21"),
        ({"tasks": 0, "batch": 20}, "tasks must be at least 1"),
        ({"tasks": 2, "batch": 60}, "fewer than a batch of 60; set episode.batch = 40"),
        ({"tasks": 2, "batch": 20, "support": 1.0}, "both sides need at least one"),
        ({"tasks": 2, "batch": 20, "kinds": "all-but-on"}, "did you mean 'all-but-one'"),
        ({"tasks": 2, "batch": 20, "split": "hlf"}, "did you mean 'half'"),
    ],
)
def test_errors(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        RecipeTasks(noise(), **options)  # type: ignore[arg-type]

"""Tasks of one domain each: identity, evenness, no image again before its domain is used up, resumption, errors."""

from __future__ import annotations

import re

import pytest
import torch
from scipy import stats

from metatc2.augment import Views
from metatc2.data.store import ImageStore
from metatc2.episodes import DomainTasks, Episode
from metatc2.errors import InputError

STYLES = ("art", "cartoon", "photo", "sketch")


def styled(*sizes: int) -> ImageStore:
    """Every domain has a gray level of its own, and its images lie anywhere."""
    g = torch.Generator().manual_seed(0)
    domains = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    domains = domains[torch.randperm(len(domains), generator=g)]
    images = (40 * (domains + 1))[:, None, None, None].expand(-1, 1, 8, 8).byte().contiguous()
    labels = torch.zeros(len(domains), dtype=torch.int64)
    two = torch.isin(domains, torch.tensor([1, 3])).nonzero().flatten()
    splits = {"one": (domains == 1).nonzero().flatten(), "two": two, "none": two[:0]}
    return ImageStore("styles", images, labels, domains, domain_names=STYLES[: len(sizes)], splits=splits)


def rows(episode: Episode) -> torch.Tensor:
    return torch.cat([episode.support.index, episode.query.index], 1)


@pytest.mark.parametrize("tasks", [2, 4, 6])
def test_identity_is_what_the_images_show(tasks: int) -> None:
    store = styled(24, 30, 40, 25)
    sampler = DomainTasks(store, Views.none(), tasks=tasks, batch=tasks * 6, support=0.34)
    for _ in range(12):
        episode = sampler.sample()
        assert episode.support.images.shape == (tasks, 2, 2, 1, 8, 8)
        assert episode.identity is not None
        assert episode.identity.names == STYLES
        shown = (episode.images * 255 / 40 - 1).round().long().flatten(1)
        assert bool((shown == episode.identity.kinds[:, None]).all())
        assert torch.equal(episode.identity.conditions, torch.eye(4)[episode.identity.kinds])
        assert torch.equal(store.domains[rows(episode)[:, 0]], episode.identity.kinds)
        assert len(rows(episode).unique()) == tasks * 6
        counts = episode.identity.kinds.bincount(minlength=4)
        assert int(counts.max() - counts.min()) == (tasks % 4 > 0)


def test_domains_are_even_over_tasks_and_episodes() -> None:
    sampler = DomainTasks(styled(8, 8, 30, 60), Views.none(), tasks=3, batch=6)
    dealt = torch.stack([e.identity.kinds for e in (sampler.sample() for _ in range(160)) if e.identity is not None])
    assert all(stats.chisquare(place.bincount(minlength=4).numpy()).pvalue > 0.01 for place in dealt.T)


def test_no_image_comes_again_before_its_domain_is_used_up() -> None:
    store = styled(24, 12)
    sampler = DomainTasks(store, Views.none(), tasks=2, batch=12)
    for _ in range(2):
        seen = torch.cat([rows(sampler.sample()).flatten() for _ in range(4)]).bincount(minlength=36)
        assert bool((seen[store.domains == 0] == 1).all())  # 24 images, 6 at a time
        assert bool((seen[store.domains == 1] == 2).all())


def test_only_domains_of_the_split_are_kinds() -> None:
    sampler = DomainTasks(styled(10, 12, 14, 16), Views.none(), tasks=2, batch=8, split="two")
    episode = sampler.sample()
    assert sampler.names == ("cartoon", "sketch")
    assert episode.identity is not None
    assert sorted(episode.identity.kinds.tolist()) == [0, 1]
    assert episode.identity.conditions.shape == (2, 2)
    shown = (episode.images * 255 / 40 - 1).round().flatten(1)[:, 0]
    assert torch.equal(shown, torch.tensor([1.0, 3.0])[episode.identity.kinds])


def test_seeds_and_resumption() -> None:
    def make(seed: int) -> DomainTasks:
        return DomainTasks(styled(24, 13, 20), Views.glyphs(), tasks=4, batch=16, seed=seed)

    def same(one: Episode, other: Episode) -> bool:
        assert one.identity is not None
        assert other.identity is not None
        alike = torch.equal(one.identity.kinds, other.identity.kinds)
        return alike and torch.equal(rows(one), rows(other)) and torch.equal(one.images, other.images)

    sampler, twin, other = make(1), make(1), make(2)
    for _ in range(3):
        episode = sampler.sample()
        assert same(episode, twin.sample())
        assert not same(episode, other.sample())
    state = sampler.state_dict()
    ahead = [sampler.sample() for _ in range(6)]  # over the end of every domain
    other.load_state_dict(state)
    assert all(same(other.sample(), episode) for episode in ahead)
    with pytest.raises(InputError, match="resume on the same data"):
        DomainTasks(styled(24, 13), Views.none(), tasks=2, batch=8).load_state_dict(state)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": 3, "batch": 20}, "DomainTasks: batch 20 is not divisible by tasks 3; the nearest valid batch is 21"),
        ({"tasks": 2, "batch": 4, "support": 0.1}, "both sides need at least one"),
        (
            {"split": "one"},
            r"styles:one has 1 domain, so .* or tasks that differ in their views \(RecipeTasks; .*views\)",
        ),
        ({"split": "none"}, "styles:none has no domains"),
        ({"split": "too"}, "did you mean 'two'"),
        (
            {"tasks": 2, "batch": 26},
            "domain 'art' of styles:all has 12 images and an episode may take 13 of it; set ep",
        ),
    ],
)
def test_errors(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        DomainTasks(styled(12, 14, 16, 18), Views.none(), **{"tasks": 2, "batch": 8, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize("tasks", [1, 2, 3, 8])
@pytest.mark.parametrize("fewest", [1, 3, 4, 7, 9])
def test_following_the_sentence_about_a_small_domain_leads_to_an_episode(fewest: int, tasks: int) -> None:
    store = styled(60, fewest, 60)
    with pytest.raises(InputError) as caught:
        DomainTasks(store, Views.none(), tasks=tasks, batch=12 * tasks)
    assert "'cartoon'" in str(caught.value)
    if fewest < 4:
        assert "at least 4 are needed, so leave this domain out or use another split" in str(caught.value)
        return
    found = dict(re.findall(r"episode\.(\w+) = (\d+)", str(caught.value)))
    tasks, batch = int(found.get("tasks", tasks)), int(found["batch"])
    episode = DomainTasks(store, Views.none(), tasks=tasks, batch=batch).sample()
    assert min(episode.support.images.shape[1], episode.query.images.shape[1]) >= 2

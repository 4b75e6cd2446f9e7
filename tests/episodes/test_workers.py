"""Every sampler in a loader with workers, and on ranks of a loop of one's own: no two draw the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from metatc2.augment import Views
from metatc2.data import ImageStore
from metatc2.episodes import DomainTasks, Episode, FactorTasks, LabeledTasks, RecipeTasks, SinusoidTasks, SplitBatch
from metatc2.ops.ranks import Ranks

from ..covering import some


def store() -> ImageStore:
    images = torch.randint(0, 255, (48, 3, 8, 8), generator=torch.Generator().manual_seed(0)).byte()
    return ImageStore("noise", images, torch.arange(48) % 4, torch.arange(48) % 2)


VIEWS = replace(Views.natural(), size=8)
SIZES: dict[str, Any] = {"tasks": 3, "batch": 12}
SAMPLERS: dict[str, Callable[..., Any]] = {
    "split": lambda **more: SplitBatch(store(), VIEWS, **SIZES, **more),
    "split by cluster": lambda **more: SplitBatch(store(), VIEWS, assign="cluster", **SIZES, **more),
    "split by domain": lambda **more: SplitBatch(store(), VIEWS, assign="domain", **SIZES, **more),
    "recipes": lambda **more: RecipeTasks(store(), VIEWS, kinds="one", **SIZES, **more),
    "domains": lambda **more: DomainTasks(store(), VIEWS, **SIZES, **more),
    "factors": lambda **more: FactorTasks("one-more", image_size=8, **SIZES, **more),
    "labeled": lambda **more: LabeledTasks(store(), way=2, shot=1, query=2, tasks=3, views=VIEWS, **more),
    "labeled, each once": lambda **more: LabeledTasks(
        store(), way=2, shot=1, query=2, tasks=3, replacement=False, **more
    ),
    "sinusoids": lambda **more: SinusoidTasks(shot=2, query=2, tasks=3, **more),
}


def images(episode: Episode) -> Tensor:
    return episode.images.flatten()


@pytest.mark.parametrize("name", some(SAMPLERS, ("split", "domains", "recipes", "labeled")))
def test_workers_and_ranks_draw_episodes_of_their_own(name: str) -> None:
    loader = iter(DataLoader(SAMPLERS[name](), batch_size=None, num_workers=2, multiprocessing_context="fork"))
    drawn = [images(next(loader)) for _ in range(4)] + [images(SAMPLERS[name](rank=rank).sample()) for rank in range(3)]
    for i, one in enumerate(drawn):
        for other in drawn[i + 1 :]:
            assert not torch.equal(one, other)


@pytest.mark.parametrize("name", SAMPLERS)
def test_divided_samplers_make_one_episode_together(name: str) -> None:
    whole = SAMPLERS[name]()
    parts = [SAMPLERS[name]() for _ in range(2)]
    for rank, part in enumerate(parts):
        part.divide(Ranks(rank, 2))
    for _ in range(6):  # over the end of an epoch
        episode, (first, second) = whole.sample(), [part.sample() for part in parts]
        for side in ("support", "query"):
            own, one, other = (getattr(each, side) for each in (episode, first, second))
            assert [len(one.images), len(other.images)] == [2, 1]
            for field in ("images", "labels", "descriptors", "index"):
                tensor = getattr(own, field)
                if tensor is not None:
                    assert torch.equal(torch.cat([getattr(one, field), getattr(other, field)]), tensor), field
        if episode.identity is not None:
            assert torch.equal(torch.cat([first.identity.kinds, second.identity.kinds]), episode.identity.kinds)
            assert torch.equal(
                torch.cat([first.identity.conditions, second.identity.conditions]), episode.identity.conditions
            )
    states = [part.state_dict()["generator"] for part in (whole, *parts)]
    assert all(torch.equal(state, states[0]) for state in states), "all are at one state"

"""Sizes that a message suggests work together when they are set."""

from __future__ import annotations

import re

import pytest
import torch

from metatc2.augment import Views
from metatc2.data.store import ImageStore
from metatc2.episodes import SplitBatch
from metatc2.errors import InputError
from metatc2.experiment.config import Config, override


def sampler(images: int, config: Config) -> SplitBatch:
    store = ImageStore("few", torch.zeros(images, 1, 8, 8).byte(), torch.zeros(images, dtype=torch.int64))
    episode = config.episode
    return SplitBatch(store, Views.none(), tasks=episode.tasks, batch=episode.batch, support=episode.support)


@pytest.mark.parametrize("tasks", [1, 2, 4, 7])
@pytest.mark.parametrize("images", [1, 3, 4, 5, 8, 15, 16, 30])
def test_following_the_sentence_about_few_images_leads_to_an_episode(images: int, tasks: int) -> None:
    config = override(Config(), [f"episode.tasks={tasks}", f"episode.batch={tasks * 32}"])
    with pytest.raises(InputError) as caught:
        sampler(images, config)
    suggested = re.findall(r"(episode\.\w+) = (\d+)", str(caught.value))
    if images < 4:
        assert "at least 4 are needed" in str(caught.value)
        assert not suggested
        return
    episode = sampler(images, override(config, [f"{key}={value}" for key, value in suggested])).sample()
    assert min(episode.support.images.shape[1], episode.query.images.shape[1]) >= 2

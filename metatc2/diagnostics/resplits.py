"""Random re-splits of an episode: what figures between tasks are where tasks do not differ."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from metatc2.episodes import Episode
from metatc2.errors import InputError
from metatc2.metrics.null import FEWEST


def resplit(episode: Episode, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """All samples, of both sides and all tasks, at random over tasks of the same sizes.

    Returns:
        Supports ``(tasks, support, ...)`` and queries ``(tasks, query, ...)``.
    """
    images = episode.images
    order = torch.randperm(images.shape[0] * images.shape[1], generator=generator, device=generator.device)
    again = images.flatten(0, 1)[order.to(images.device)].unflatten(0, images.shape[:2])
    support = episode.support.images.shape[1]
    return again[:, :support], again[:, support:]


def sizes(episodes: Sequence[Episode], what: str) -> tuple[int, int, int]:
    """Number of tasks, and of the samples on each side of a task.

    Args:
        episodes: that a figure is a mean over.
        what: name of the figure, for errors.

    Raises:
        InputError: if there is no episode, sizes differ, or there are under two tasks or no query side.
    """
    shapes = {(*e.support.images.shape[:2], *e.query.images.shape[:2]) for e in episodes}
    if len(shapes) != 1:
        raise InputError(
            f"{what}: needs at least one episode, and all of the same sizes; got sizes {sorted(shapes)} (tasks and "
            "support, tasks and query)"
        )
    tasks, support, _, query = shapes.pop()
    if tasks < 2 or query < 1:
        raise InputError(
            f"{what}: needs at least 2 tasks with a query side, got {tasks} with {query} queries each; set "
            "episode.tasks to 2 or more"
        )
    return tasks, support, query


def enough(resplits: int, what: str) -> int:
    """The number of draws, if it gives a 95 % interval.

    Raises:
        InputError: if it is below 39.
    """
    if resplits < FEWEST:
        raise InputError(f"{what}: resplits must be at least {FEWEST}, which give a 95 % interval, got {resplits}")
    return resplits

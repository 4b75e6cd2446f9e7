"""Our episodes as tasks of learn2learn."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from metatc2.episodes import Episode, Sampler
from metatc2.errors import InputError

Task = tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]


def tasks_of(episode: Episode) -> Iterator[Task]:
    """The tasks of an episode one by one, as ``((x, y), (query_x, query_y))``, for any numbers of shots and queries.

    Args:
        episode: with labels.

    Returns:
        Samples ``(n, ...)``, every view one of them, and task-local labels ``(n,)``, for each side.

    Raises:
        InputError: if there are no labels.

    >>> from metatc2.episodes import Samples
    >>> side = Samples(torch.rand(3, 4, 1, 2), torch.tensor([[0, 0, 1, 1]] * 3), None, torch.zeros(3, 4))
    >>> [(x.shape, y.tolist()) for (x, y), _ in tasks_of(Episode(side, side))][0]
    (torch.Size([4, 2]), [0, 0, 1, 1])
    """
    x, y = episode.support.labelled()
    query_x, query_y = episode.query.labelled()
    for own in zip(x, y, query_x, query_y, strict=True):
        yield (own[0], own[1]), (own[2], own[3])


class AsTaskset:
    """A sampler of ours in the place of a learn2learn `Taskset` without a fixed number of tasks.

    A task is ``(data, labels)``, class by class, with support at even and queries at odd places. learn2learn's scripts
    adapt on the even places (``indices[np.arange(shots * ways) * 2] = True``) and judge on the others, so they take exactly our
    support and our queries. That needs as many queries as shots; for other numbers use `tasks_of`.

    Args:
        sampler: of labelled episodes; the tasks of an episode are given out one after the other.

    >>> from metatc2.episodes import FromIterable, Samples
    >>> labels = torch.tensor([[1, 0]])
    >>> support, query = (Samples(torch.full((1, 2, 1, 1), v), labels, None, labels) for v in (0.0, 1.0))
    >>> data, labels = AsTaskset(FromIterable([Episode(support, query)])).sample()
    >>> data.flatten(), labels
    (tensor([0., 1., 0., 1.]), tensor([0, 0, 1, 1]))
    """

    def __init__(self, sampler: Sampler) -> None:
        self.sampler = sampler
        self.waiting: list[Task] = []

    def sample(self) -> tuple[Tensor, Tensor]:
        """The next task: data ``(2 · way · shot, ...)`` and labels ``(2 · way · shot,)``.

        Raises:
            InputError: if there are no labels, or the classes have not as many queries as shots.
        """
        if not self.waiting:
            self.waiting = list(tasks_of(self.sampler.sample()))[::-1]
        (x, y), (query_x, query_y) = self.waiting.pop()
        if not y.is_floating_point():
            order, query_order = y.argsort(stable=True), query_y.argsort(stable=True)
            x, y, query_x, query_y = x[order], y[order], query_x[query_order], query_y[query_order]
            if not torch.equal(y, query_y):
                raise InputError(
                    f"AsTaskset: learn2learn's even and odd places need as many queries as shots in each class, got shots "
                    f"{torch.bincount(y).tolist()} and queries {torch.bincount(query_y).tolist()}; sample with query = shot, "
                    "or loop over metatc2.interop.learn2learn.tasks_of(episode)"
                )
        elif len(y) != len(query_y):
            raise InputError(
                f"AsTaskset: learn2learn's even and odd places need as many queries as support samples, got {len(query_y)} and "
                f"{len(y)}; loop over metatc2.interop.learn2learn.tasks_of(episode)"
            )
        return torch.stack([x, query_x], 1).flatten(0, 1), torch.stack([y, query_y], 1).flatten()

    def __len__(self) -> int:
        """1, as learn2learn has it for a task set without end."""
        return 1

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        """The next task, whatever the number, as learn2learn has it."""
        return self.sample()

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield self.sample()

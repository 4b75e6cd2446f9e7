"""Our episodes as tasks of learn2learn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

import torch
from torch import Tensor

from metatc2.episodes import Episode, Sampler
from metatc2.errors import InputError, nearest

Layout = Literal["even", "blocks"]
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
    x, y = episode.support.labeled()
    query_x, query_y = episode.query.labeled()
    for own in zip(x, y, query_x, query_y, strict=True):
        yield (own[0], own[1]), (own[2], own[3])


class AsTaskset:
    """A sampler of ours in the place of a learn2learn `Taskset` without a fixed number of tasks.

    A task is ``(data, labels)``, class by class, in the order in which learn2learn takes it apart again:

    * ``"even"``: support at even places, queries at odd ones. Its example scripts adapt on the even places
      (``indices[np.arange(shots * ways) * 2] = True``) and evaluate on the others. That needs as many queries as shots.
    * ``"blocks"``: of each class first the support, then the queries. So do `learn2learn.data.partition_task` and the
      Lightning learners, for any number of queries.

    A loop of your own needs neither: see `tasks_of`.

    Args:
        sampler: of labeled episodes; the tasks of an episode are given out one after the other.
        layout: see above.

    Raises:
        InputError: if there is no such layout.

    >>> from metatc2.episodes import FromIterable, Samples
    >>> labels = torch.tensor([[1, 0]])
    >>> support, query = (Samples(torch.full((1, 2, 1, 1), v), labels, None, labels) for v in (0.0, 1.0))
    >>> data, labels = AsTaskset(FromIterable([Episode(support, query)])).sample()
    >>> data.flatten(), labels
    (tensor([0., 1., 0., 1.]), tensor([0, 0, 1, 1]))
    """

    def __init__(self, sampler: Sampler, layout: Layout = "even") -> None:
        if layout not in get_args(Layout):
            raise InputError(f"AsTaskset: unknown layout {layout!r}; {nearest(layout, get_args(Layout))}")
        self.sampler, self.layout = sampler, layout
        self.waiting: list[Task] = []

    def sample(self) -> tuple[Tensor, Tensor]:
        """The next task: data ``(way · (shot + query), ...)`` and labels ``(way · (shot + query),)``.

        Raises:
            InputError: if there are no class labels, or the numbers of shots and queries do not fit the layout.
        """
        if not self.waiting:
            self.waiting = list(tasks_of(self.sampler.sample()))[::-1]
        (x, y), (query_x, query_y) = self.waiting.pop()
        if y.is_floating_point():
            raise InputError(
                "AsTaskset: learn2learn's layouts are for classes and these are regression tasks; use tasks_of"
            )
        shots, queries = (torch.bincount(labels).tolist() for labels in (y, query_y))
        if len(shots) != len(queries) or len({*shots}) > 1 or len({*queries}) > 1:
            raise InputError(
                f"AsTaskset: learn2learn needs the same numbers of shots and of queries in every class, got shots {shots} and "
                f"queries {queries}; loop over tasks_of(episode)"
            )
        if self.layout == "even" and shots != queries:
            raise InputError(
                f"AsTaskset: even and odd places need as many queries as shots in each class, got {shots[0]} shots and "
                f"{queries[0]} queries; sample with query={shots[0]}, use layout='blocks' where partition_task or a "
                "Lightning learner reads the tasks, or loop over tasks_of(episode)"
            )
        order, query_order = y.argsort(stable=True), query_y.argsort(stable=True)
        groups = len(y) if self.layout == "even" else len(shots)
        return (
            _side_by_side(x[order], query_x[query_order], groups),
            _side_by_side(y[order], query_y[query_order], groups),
        )

    def __len__(self) -> int:
        """1, as learn2learn has it for a task set without end."""
        return 1

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        """The next task, whatever the number, as learn2learn has it."""
        return self.sample()

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield self.sample()


def _side_by_side(support: Tensor, query: Tensor, groups: int) -> Tensor:
    """Both cut into as many equal groups, a group of the support before each of the queries."""
    return torch.cat([support.unflatten(0, (groups, -1)), query.unflatten(0, (groups, -1))], 1).flatten(0, 1)

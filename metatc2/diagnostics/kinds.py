"""Tasks of several episodes, brought together by what kind they are of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from metatc2.episodes import Episode
from metatc2.errors import InputError


@dataclass(frozen=True, eq=False)
class Kinds:
    """Which kind every task of every episode is of.

    Args:
        names: of the K kinds that occur, in the order of their numbers.
        rows: for each episode int64 ``(tasks,)``, positions in `names`.
        known: whether the sampler told them; without, a task's kind is its place in the episode.
    """

    names: tuple[str, ...]
    rows: tuple[Tensor, ...]
    known: bool


def kinds_of(episodes: Sequence[Episode], what: str) -> Kinds:
    """Kinds by `Episode.identity`; by place where episodes have none, or where no episode holds tasks of two kinds.

    Args:
        episodes: at least one, all of as many tasks.
        what: name of the figure, for errors.

    Raises:
        InputError: if some episodes have an identity and some have none, names differ between them, or kinds do not fit.
    """
    identities = [episode.identity for episode in episodes if episode.identity is not None]
    tasks = len(episodes[0].support.images)
    place = torch.arange(tasks)
    by_place = Kinds(tuple(f"task {i + 1}" for i in range(tasks)), tuple(place for _ in episodes), known=False)
    if not identities:
        return by_place
    if len(identities) < len(episodes) or len({identity.names for identity in identities}) > 1:
        raise InputError(
            f"{what}: {len(identities)} of {len(episodes)} episodes say of what kind their tasks are, with "
            f"{len({identity.names for identity in identities})} lists of names; take all episodes from one sampler"
        )
    names = identities[0].names
    for identity in identities:
        kinds = identity.kinds
        if kinds.shape != (tasks,) or not bool(((kinds >= 0) & (kinds < len(names))).all()):
            raise InputError(
                f"{what}: the kinds of an episode must be {tasks} numbers from 0 to {len(names) - 1}, one a task, got "
                f"{kinds.tolist()}; see TaskIdentity"
            )
    if all(len(identity.kinds.unique()) < 2 for identity in identities):
        return by_place
    occurring = torch.cat([identity.kinds.cpu() for identity in identities]).unique()
    rows = tuple(torch.searchsorted(occurring, identity.kinds.cpu()) for identity in identities)
    return Kinds(tuple(names[i] for i in occurring.tolist()), rows, known=True)


def mean_by_kind(matrices: Sequence[Tensor], kinds: Kinds) -> Tensor:
    """Mean over all pairs of tasks of the same two kinds.

    Args:
        matrices: ``(tasks, tasks)`` of each episode.
        kinds: of the same episodes.

    Returns:
        float64 ``(K, K)`` on the CPU; NaN where no episode holds tasks of both kinds.

    >>> kinds = Kinds(("a", "b"), (torch.tensor([0, 1]), torch.tensor([1, 0])), known=True)
    >>> mean_by_kind([torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[4.0, 3.0], [2.0, 1.0]])], kinds).tolist()
    [[1.0, 2.0], [3.0, 4.0]]
    """
    size = len(kinds.names)
    cells = torch.cat([(row[:, None] * size + row).flatten() for row in kinds.rows])
    values = torch.cat([matrix.double().cpu().flatten() for matrix in matrices])
    total = torch.zeros(size * size, dtype=torch.float64)
    mean = total.index_add(0, cells, values) / total.index_add(0, cells, torch.ones_like(values))
    return mean.view(size, size)

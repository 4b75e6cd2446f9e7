"""Where samplers' chance comes from: streams of random numbers that never coincide, and draws without replacement."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from metatc2.episodes.episode import Episode
from metatc2.errors import InputError
from metatc2.ops.ranks import ALONE, Ranks, split_ranks


class TaskSource(IterableDataset[Episode], ABC):
    """A sampler that several processes can share, as a trainer has it or as a `torch.utils.data.DataLoader` has it.

    A trainer on several processes calls `divide`: all draw the same episodes, and each makes its own tasks of them. In a loop
    of one's own each process may instead give its `rank`, which draws episodes of its own; so does every worker of a loader.

    Subclasses write `draw` and take every random number from ``self.generator``. They can be given to a trainer as they are,
    or to ``DataLoader(source, batch_size=None, num_workers=2)``, which then iterates without end. In a worker the stream
    depends on the seed, the rank, how far the source had come when the loader was started, the worker's number, and the
    loader's own seed (``torch.manual_seed`` or its argument ``generator``): a second pass over a loader is not the first again.

    Args:
        seed: ≥ 0; the same seed gives the same episodes.
        rank: ≥ 0; ranks draw different episodes from one seed.

    Raises:
        InputError: if a number is negative.
    """

    #: The processes that make an episode together; `divide` sets it.
    ranks: Ranks = ALONE

    def __init__(self, seed: int, rank: int = 0) -> None:
        for name, value in (("seed", seed), ("rank", rank)):
            if value < 0:
                raise InputError(f"{type(self).__name__}: {name} must be at least 0, got {value}")
        self.generator, self.rank = stream(seed, rank), rank
        self._worker: int | None = None

    @abstractmethod
    def draw(self) -> Episode:
        """The next episode, from ``self.generator``; of divided ones the tasks of this rank."""

    def divide(self, ranks: Ranks) -> None:
        """From now on make the tasks of this rank alone. All ranks draw the same random numbers, so their states are one.

        Raises:
            InputError: if the sampler draws episodes of its own, by its argument `rank`.
        """
        if self.rank and not ranks.alone:
            raise InputError(
                f"{type(self).__name__}: rank = {self.rank} draws other episodes than other processes do, and a trainer on "
                "several processes divides the same ones; leave rank out"
            )
        self.ranks = ranks

    def own(self, tasks: int) -> slice:
        """Which of an episode's tasks are of this rank.

        Raises:
            InputError: if there are fewer tasks than ranks.
        """
        return slice(0, tasks) if self.ranks.alone else split_ranks(tasks, self.ranks, type(self).__name__)

    def begin(self) -> None:
        """Forget what was drawn before; called when a worker gets a stream of its own."""

    def sample(self) -> Episode:
        """The next episode."""
        info = get_worker_info()
        if info is not None and info.seed != self._worker:
            # Every worker starts from a copy of the same source.
            common = int(torch.randint(2**62, (), generator=self.generator))
            self.generator, self._worker = stream(common, info.seed - info.id, info.id), info.seed
            self.begin()
        return self.draw()

    def __iter__(self) -> Iterator[Episode]:
        while True:
            yield self.sample()

    def state_dict(self) -> dict[str, Any]:
        """All that the next episodes depend on. Taken in the main process it knows nothing of a loader's workers."""
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where the state was taken."""
        self.generator.set_state(state["generator"])
        info = get_worker_info()
        self._worker = None if info is None else info.seed


class GroupOrders:
    """A shuffled order of each group: no item comes twice until a group has too few left and is shuffled whole.

    Args:
        sizes: int64 ``(D,)``: group d holds the numbers below ``sizes[d]``.

    >>> orders, g = GroupOrders(torch.tensor([4, 2])), torch.Generator().manual_seed(0)
    >>> first, second = orders.draw(torch.tensor([0]), 2, g), orders.draw(torch.tensor([0]), 2, g)
    >>> torch.cat([first, second], 1).sort().values.tolist(), orders.left.tolist()
    ([[0, 1, 2, 3]], [0, 0])
    """

    def __init__(self, sizes: Tensor) -> None:
        self.sizes, self._first = sizes, sizes.cumsum(0) - sizes
        self._items = torch.zeros(int(sizes.sum()), dtype=torch.int64)
        #: Items left in each group; 0 at first, so that groups are shuffled when they are first drawn from.
        self.left = torch.zeros_like(sizes)

    def shuffle(self, group: int, generator: torch.Generator) -> None:
        """All items of a group back, in a new order."""
        first, size = int(self._first[group]), int(self.sizes[group])
        self._items[first : first + size] = torch.randperm(size, generator=generator)
        self.left[group] = size

    def draw(self, groups: Tensor, k: int, generator: torch.Generator) -> Tensor:
        """The next `k` items of some groups.

        Args:
            groups: int64 ``(B,)``, all different, each of at least `k` items.
            k: how many.
            generator: on the CPU.

        Returns:
            int64 ``(B, k)``.
        """
        for group in groups[self.left[groups] < k].tolist():
            self.shuffle(group, generator)
        top = (self._first + self.sizes - self.left)[groups]
        self.left[groups] -= k
        return self._items[top.unsqueeze(1) + torch.arange(k)]

    def state_dict(self) -> dict[str, Tensor]:
        """Order of the items, and how many are left."""
        return {"items": self._items.clone(), "left": self.left.clone()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue where the state was taken.

        Raises:
            InputError: if it was taken from groups of other sizes, or is no order of their items.
        """
        # Checkpoints of older versions call the items "cards".
        items = state["items"] if "items" in state else state["cards"]
        if items.shape != self._items.shape or state["left"].shape != self.left.shape:
            raise InputError(
                f"the saved order is of {len(items)} items in {len(state['left'])} groups and here there are "
                f"{len(self._items)} in {len(self.left)}; resume on the same data with the same settings of [episode]"
            )
        left, most = state["left"], self.sizes.repeat_interleave(self.sizes)
        whole = items.dtype == left.dtype == torch.int64
        if not whole or bool(((items < 0) | (items >= most)).any() or ((left < 0) | (left > self.sizes)).any()):
            raise InputError("the saved order holds items that its groups have not; resume another checkpoint")
        self._items, self.left = items.clone(), left.clone()


def stream(*numbers: int) -> torch.Generator:
    """A generator on the CPU for some numbers ≥ 0; others give a stream that has nothing to do with it.

    >>> torch.rand((), generator=stream(0, 1)) == torch.rand((), generator=stream(1, 0))
    tensor(False)
    """
    return torch.Generator().manual_seed(int(np.random.SeedSequence(numbers).generate_state(1)[0]))


def seeded_stream(seed: int, rank: int) -> torch.Generator:
    """The generator of a seed as torch has it for rank 0, and a `stream` for others."""
    return stream(seed, rank) if rank else torch.Generator().manual_seed(seed)


def assign_evenly(kinds: int, tasks: int, generator: torch.Generator) -> Tensor:
    """The kind of each task, int64 ``(tasks,)``, by permutations of all kinds one after the other.

    No kind comes twice before all have come, and over many draws every task has every kind equally often.

    >>> assign_evenly(3, 6, torch.Generator().manual_seed(0)).bincount().tolist()
    [2, 2, 2]
    """
    rounds = -(-tasks // kinds)
    return torch.cat([torch.randperm(kinds, generator=generator) for _ in range(rounds)])[:tasks]


def sample_without_replacement(sizes: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """For each row, `k` different integers below its size, every ordered choice equally likely.

    Floyd's algorithm (Bentley and Floyd 1987, CACM 30(9)), vectorized over rows: O(k²) a row whatever the size.

    Args:
        sizes: int64 ``(B,)``, each at least `k`.
        k: how many.
        generator: on the CPU.

    Returns:
        int64 ``(B, k)``.

    >>> sample_without_replacement(torch.tensor([3, 3]), 3, torch.Generator().manual_seed(0)).sort(1).values.tolist()
    [[0, 1, 2], [0, 1, 2]]
    """
    chance = torch.rand(len(sizes), k, generator=generator, dtype=torch.float64)
    chosen = torch.empty(len(sizes), k, dtype=torch.int64)
    for i in range(k):
        last = sizes - k + i
        candidate = (chance[:, i] * (last + 1)).long()
        taken = (chosen[:, :i] == candidate.unsqueeze(1)).any(1)
        chosen[:, i] = torch.where(taken, last, candidate)
    # Floyd's sets are uniform but their order is not: large numbers come late, so support and query would differ.
    order = torch.rand(len(sizes), k, generator=generator, dtype=torch.float64).argsort(1)
    return chosen.gather(1, order)

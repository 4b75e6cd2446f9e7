"""What samplers of self-supervised tasks share: rows in a new order every epoch, and a batch cut into tasks of two sides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from metatc2.data.store import ImageStore
from metatc2.data.streaming import StreamedImages
from metatc2.episodes.sampler import TaskSource, seeded_stream
from metatc2.episodes.samples import Samples
from metatc2.errors import InputError

SMALLEST_TASK = 4  # images of the smallest task that is worth suggesting: two on each side


class EpochOrder:
    """Rows a batch at a time: in a new order every epoch, the incomplete last batch left out.

    Args:
        rows: int64 ``(n,)``, at least `batch` of them.
        batch: rows at a time.

    >>> order, g = EpochOrder(torch.arange(4), 2), torch.Generator().manual_seed(0)
    >>> torch.cat([order.next(g), order.next(g)]).sort().values.tolist(), order.coming().tolist()
    ([0, 1, 2, 3], [])
    """

    def __init__(self, rows: Tensor, batch: int) -> None:
        self.rows, self.batch = rows, batch
        self.order, self.position = rows[:0], 0

    def next(self, generator: torch.Generator) -> Tensor:
        """The next rows, int64 ``(batch,)``."""
        if self.position + self.batch > len(self.order):
            self.order = self.rows[torch.randperm(len(self.rows), generator=generator)]
            self.position = 0
        self.position += self.batch
        return self.order[self.position - self.batch : self.position]

    def coming(self) -> Tensor:
        """Rows that `next` gives the next time, or none where an epoch ends and its successor is not drawn yet."""
        coming = self.order[self.position : self.position + self.batch]
        return coming if len(coming) == self.batch else coming[:0]

    def state_dict(self) -> dict[str, Any]:
        """Order of the epoch and position in it."""
        return {"order": self.order, "position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue in the middle of the saved epoch; the state may hold more than is read here.

        Raises:
            InputError: if its order is not of these rows, or its position not in it.
        """
        order, position = state["order"], state["position"]
        if len(order) and not torch.equal(order.sort().values, self.rows.sort().values):
            raise InputError("the saved order of images is of other images; resume on the same data")
        if type(position) is not int or not 0 <= position <= len(order):
            raise InputError(
                f"the saved position is {position!r} and no place among {len(order)} images; resume another one"
            )
        self.order, self.position = order.to(self.rows.dtype), position


class EpochSampler(TaskSource):
    """A sampler that takes its images in the order of epochs, and goes on from a saved state.

    Args:
        rows: of the store, int64 ``(n,)``.
        batch: of them in an episode.
        seed, rank: see `TaskSource`.
    """

    def __init__(self, rows: Tensor, batch: int, seed: int, rank: int) -> None:
        super().__init__(seed, rank)
        self.generator = seeded_stream(seed, rank)
        self.epochs = EpochOrder(rows, batch)

    @property
    def epoch_steps(self) -> int:
        """Episodes of a pass over the images."""
        return len(self.epochs.rows) // self.epochs.batch

    def begin(self) -> None:
        """A new epoch."""
        self.epochs = EpochOrder(self.epochs.rows, self.epochs.batch)

    def state_dict(self) -> dict[str, Any]:
        """Generator, order of the epoch and position in it."""
        return {**super().state_dict(), **self.epochs.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue in the middle of the saved epoch."""
        super().load_state_dict(state)
        self.epochs.load_state_dict(state)


@dataclass(frozen=True)
class Cut:
    """How a batch becomes tasks, and a task a support and a query side.

    Args:
        who: name of the sampler, for errors.
        tasks: number of tasks in a batch.
        batch: images in a batch.
        share: of each task's samples on its support side.

    Raises:
        InputError: if `tasks` does not divide `batch`, or a side has no image.
    """

    who: str
    tasks: int
    batch: int
    share: float

    def __post_init__(self) -> None:
        if self.tasks < 1 or self.batch % self.tasks:
            near = f"the nearest valid batch is {max(1, round(self.batch / max(1, self.tasks))) * self.tasks}"
            raise InputError(
                f"{self.who}: batch {self.batch} is not divisible by tasks {self.tasks}; "
                + (near if self.tasks >= 1 else "tasks must be at least 1")
            )
        if not 0 < self.share < 1 or not 0 < self.support < self.samples:
            raise InputError(
                f"{self.who}: a support share of {self.share} cuts a task of {self.samples} images into {self.support} "
                f"and {self.samples - self.support}; both sides need at least one"
            )

    @property
    def samples(self) -> int:
        """Samples of a task, both sides together."""
        return self.batch // self.tasks

    @property
    def support(self) -> int:
        """Samples of a task on its support side."""
        return round(self.share * self.samples)

    def of(self, tasks: slice) -> slice:
        """The images of some consecutive tasks, in a batch that lies task by task."""
        return slice(tasks.start * self.samples, tasks.stop * self.samples)

    def sides(self, images: Tensor, descriptors: Tensor, rows: Tensor) -> tuple[Samples, Samples]:
        """Support and query of whole tasks, without labels.

        Args:
            images: ``(n, views, C, H, W)``, task by task.
            descriptors: ``(n, views, P)``.
            rows: ``(n,)``.
        """
        whole = Samples(images, None, descriptors, rows).map(lambda t: t.unflatten(0, (-1, self.samples)))
        return whole.map(lambda t: t[:, : self.support]), whole.map(lambda t: t[:, self.support :])

    def check_enough(self, where: str, images: int) -> None:
        """A split must hold a batch.

        Args:
            where: the split, for the message.
            images: how many it has.

        Raises:
            InputError: with settings that go together: a task needs an image on each of its two sides, and a loss two images
                on its support.
        """
        if images >= self.batch:
            return
        problem = f"{self.who}: {where} has {images} images, fewer than a batch of {self.batch}"
        fitting = min(self.tasks, images // SMALLEST_TASK)
        if fitting < 1:
            raise InputError(f"{problem}; at least {SMALLEST_TASK} are needed, so use another split or source")
        size = images // fitting * fitting
        if fitting == self.tasks:
            raise InputError(f"{problem}; set episode.batch = {size}")
        raise InputError(f"{problem}; set episode.tasks = {fitting} and episode.batch = {size}")


def read_ahead(store: ImageStore, rows: Tensor) -> None:
    """Streamed images of the next episode are read while this one is learned from.

    Args:
        store: where the images are; one in memory has nothing to read.
        rows: int64 ``(n,)``; none where they are not drawn yet.
    """
    if isinstance(store.images, StreamedImages) and len(rows):
        store.images.prefetch(rows)

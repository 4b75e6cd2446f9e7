"""The sampler of labeled few-shot episodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from metatc2.augment import Views
from metatc2.data.store import ImageStore, how_to_label, require_store
from metatc2.data.streaming import StreamedImages
from metatc2.episodes.episode import Episode
from metatc2.episodes.sampler import GroupOrders, TaskSource, sample_without_replacement
from metatc2.episodes.samples import Samples
from metatc2.errors import InputError

Range = int | tuple[int, int]


class LabeledTasks(TaskSource):
    """Few-shot classification tasks from the classes of a split (Vinyals et al. 2016, arXiv 1606.04080, section 4.1).

    A task is `way` different classes in random order, and of each `shot` samples to learn from and `query` others to be
    evaluated on. Labels are task-local, 0 to way − 1; samples lie class by class. Every class of the split is equally likely,
    and so is every sample of a class. Where the split is a group (the scripts of ``glyphs:meta-test``), the classes of a task
    come from one member alone, which is drawn in proportion to its number of classes.

    Classes with fewer than `shot` + `query` samples (the largest shot, where it varies) are left out; ``excluded`` says how
    many, ``classes`` how many take part.

    With ``replacement=False`` classes follow shuffled orders: in an epoch no class is drawn twice, by whatever task, and a
    member of a group is drawn in proportion to the classes that it has left. The epoch ends when no member has `way` left;
    those that are left over are shuffled in again. Each class gives its samples in the same way: none comes again before
    fewer than `shot` + `query` of that class are left. Every rank and every worker draws from orders of its own.

    Args:
        store: where the images are.
        way: classes of a task; a pair (low, high) draws it anew for each episode, both ends included.
        shot: support samples a class; a pair likewise.
        query: query samples a class.
        tasks: tasks of an episode.
        split: rows of the store to draw from, or a group of splits.
        views: an augmentation of all images; None takes them as they are, without descriptors.
        replacement: whether a class may come again before all others have come.
        seed: of the generator that everything is drawn from.
        rank: number of this process; ranks draw different tasks from one seed.
        device: where episodes are made; leave it at the CPU in a loader with workers.

    Raises:
        InputError: if the split, or a member of it, has too few classes that are large enough, or a number is out of range.

    >>> store = ImageStore("noise", torch.randint(0, 255, (60, 1, 8, 8)).byte(), torch.arange(60) % 6)
    >>> episode = LabeledTasks(store, way=3, shot=2, query=4, tasks=5).sample()
    >>> episode.support.images.shape, episode.query.labels.shape
    (torch.Size([5, 6, 1, 1, 8, 8]), torch.Size([5, 12]))
    >>> episode.support.labels[0].tolist()
    [0, 0, 1, 1, 2, 2]
    """

    def __init__(
        self,
        store: ImageStore,
        *,
        way: Range = 5,
        shot: Range = 1,
        query: int = 15,
        tasks: int = 4,
        split: str = "all",
        views: Views | None = None,
        replacement: bool = True,
        seed: int = 0,
        rank: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        require_store(store, "LabeledTasks")
        super().__init__(seed, rank)
        self.way, self.shot = _ends("way", way, 2), _ends("shot", shot, 1)
        self.query, self.tasks = _number("query", query), _number("tasks", tasks)
        self.store, self.views, self.replacement = store, views, replacement
        self.split = split
        self.device = torch.device(device)
        self._find_classes(store.expand(split))
        self.begin()

    def _find_classes(self, members: Sequence[str]) -> None:
        """Rows sorted by member and class; where each class that takes part begins and how many samples it has."""
        rows, starts, sizes, numbers = [], [], [], []
        self.excluded = before = 0
        for member in members:
            own = self.store.splits[member]
            labels = self.store.labels[own]
            counts = torch.unique(labels, return_counts=True)[1]
            large = counts >= self.shot[1] + self.query
            if int(large.sum()) < self.way[1]:
                few = self._too_few(f"{self.store.name}:{member}", counts, int(large.sum()))
                raise InputError(f"{few}{how_to_label(self.store)}")
            rows.append(own[labels.argsort(stable=True)])
            starts.append((before + counts.cumsum(0) - counts)[large])
            sizes.append(counts[large])
            numbers.append(len(sizes[-1]))
            self.excluded += len(counts) - numbers[-1]
            before += len(own)
        self._rows, self._starts, self._sizes = torch.cat(rows), torch.cat(starts), torch.cat(sizes)
        self._members = torch.tensor(numbers)
        self._firsts = self._members.cumsum(0) - self._members
        self.classes = len(self._sizes)

    def _too_few(self, split: str, counts: Tensor, large: int) -> str:
        way, shot = self.way[1], self.shot[1]
        ways_out = [f"way (episode.way) to {large}"] if large >= 2 else []
        if len(counts) >= way and (reachable := int(counts.sort().values[-way])) >= 2:
            ways_out.append(f"shot + query (episode.shot, episode.query) to {reachable}")
        return (
            f"LabeledTasks: {large} of the {len(counts)} classes of {split} have the {shot + self.query} images that "
            f"shot {shot} and query {self.query} take, and way {way} needs {way}; "
            + (f"lower {' or '.join(ways_out)}" if ways_out else f"use another split{self._other_split(large)}")
        )

    def _other_split(self, large: int) -> str:
        """The split with most classes that are large enough, as the end of a sentence; empty where none has two."""
        least, most = self.shot[1] + self.query, ("", max(large, 1))
        for split, rows in self.store.splits.items():
            count = int((torch.unique(self.store.labels[rows], return_counts=True)[1] >= least).sum())
            most = (split, count) if count > most[1] else most
        return f", such as {most[0]} (data.split), which has {most[1]} such classes" if most[0] else ""

    def begin(self) -> None:
        """Shuffle all orders anew; without effect where classes are drawn with replacement."""
        self._class_orders, self._sample_orders = GroupOrders(self._members), GroupOrders(self._sizes)

    def draw(self) -> Episode:
        """An episode: float images ``(tasks, way · shot or query, 1, C, H, W)``; all tensors on the sampler's device."""
        own = self.own(self.tasks)
        index, labels, support = self._draw_rows()
        whole = self._samples(index, labels, own)
        self._look_ahead(own)
        return Episode(whole.map(lambda t: t[:, :support]), whole.map(lambda t: t[:, support:]))

    def _draw_rows(self) -> tuple[Tensor, Tensor, int]:
        """Rows and labels of the next episode, support first, ``(tasks, samples)``, and how many are support."""
        way, shot = self._between(self.way), self._between(self.shot)
        each = shot + self.query
        if self.replacement:
            classes = self._any_classes(way)
            drawn = sample_without_replacement(self._sizes[classes].flatten(), each, self.generator).view(
                *classes.shape, each
            )
        else:
            classes = torch.stack([self._next_classes(way) for _ in range(self.tasks)])
            drawn = torch.stack([self._sample_orders.draw(task, each, self.generator) for task in classes])
        rows = self._rows[self._starts[classes].unsqueeze(2) + drawn]
        index = torch.cat([rows[..., :shot].flatten(1), rows[..., shot:].flatten(1)], 1)
        label = torch.arange(way)
        labels = torch.cat([label.repeat_interleave(shot), label.repeat_interleave(self.query)]).repeat(self.tasks, 1)
        return index, labels, way * shot

    def _look_ahead(self, own: slice) -> None:
        """Streamed images of the next episode are read while this one is learned from: its rows are drawn, and put back."""
        images = self.store.images
        if isinstance(images, StreamedImages) and images.workers:
            state = self.state_dict()
            coming = self._draw_rows()[0][own]
            self.load_state_dict(state)
            images.prefetch(coming.flatten())

    def state_dict(self) -> dict[str, Any]:
        """Generator and, without replacement, the orders."""
        state = super().state_dict()
        if not self.replacement:
            state |= {"classes": self._class_orders.state_dict(), "samples": self._sample_orders.state_dict()}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where the state was taken.

        Raises:
            InputError: if it was taken from a sampler of other classes, or from one with another `replacement`.
        """
        if ("classes" in state) == self.replacement:
            raise InputError(
                f"LabeledTasks: the saved state is of replacement={not self.replacement}, and here it is {self.replacement}; "
                "resume with the same"
            )
        if not self.replacement:
            orders = GroupOrders(self._members), GroupOrders(self._sizes)
            orders[0].load_state_dict(state["classes"])
            orders[1].load_state_dict(state["samples"])
            self._class_orders, self._sample_orders = orders
        super().load_state_dict(state)

    def _between(self, ends: tuple[int, int]) -> int:
        return int(torch.randint(ends[0], ends[1] + 1, (), generator=self.generator))

    def _any_classes(self, way: int) -> Tensor:
        """Classes of all tasks, ``(tasks, way)``."""
        members = torch.multinomial(self._members.double(), self.tasks, replacement=True, generator=self.generator)
        drawn = sample_without_replacement(self._members[members], way, self.generator)
        return self._firsts[members].unsqueeze(1) + drawn

    def _next_classes(self, way: int) -> Tensor:
        """Classes of the next task, ``(way,)``, from what the epoch has left."""
        left = self._class_orders.left
        if not bool((left >= way).any()):
            for member in range(len(self._members)):
                self._class_orders.shuffle(member, self.generator)
        weights = torch.where(left >= way, left, 0).double()
        drawn = torch.multinomial(weights, 1, generator=self.generator)
        return self._firsts[drawn] + self._class_orders.draw(drawn, way, self.generator)[0]

    def _samples(self, index: Tensor, labels: Tensor, own: slice) -> Samples:
        drawn = None
        if self.views is not None:
            drawn = self.views.sample(index.numel(), self.generator).unflatten(0, (*index.shape, 1))[own]
        index, labels = index[own], labels[own]
        images = self.store.images[index.flatten()].to(self.device)
        descriptors = None
        if self.views is None or drawn is None:
            made = (images / 255).unsqueeze(1)
        else:
            made, descriptors = self.views.make(images, drawn.flatten(0, 1))
            descriptors = descriptors.unflatten(0, index.shape)
        return Samples(made.unflatten(0, index.shape), labels.to(self.device), descriptors, index.to(self.device))


def classes_for(store: ImageStore, split: str, images: int) -> int:
    """Classes of a split that have as many images; of a group, those of the member that has the fewest.

    Args:
        store: where the images are.
        split: of the store, or a group of splits.
        images: that a class needs, of support and query together.

    Raises:
        InputError: if there is no such split.

    >>> store = ImageStore("noise", torch.zeros(7, 1, 8, 8).byte(), torch.tensor([0, 0, 0, 1, 1, 2, 2]))
    >>> classes_for(store, "all", 2), classes_for(store, "all", 3)
    (3, 1)
    """
    rows = [store.splits[member] for member in store.expand(split)]
    return min(int((torch.unique(store.labels[own], return_counts=True)[1] >= images).sum()) for own in rows)


def _ends(name: str, value: Range | Sequence[int], least: int) -> tuple[int, int]:
    """Both ends of a range; of a number, the number twice."""
    ends = tuple(value) if isinstance(value, Sequence) else (value, value)
    if len(ends) != 2 or not all(isinstance(end, int) for end in ends) or not least <= ends[0] <= ends[1]:
        raise InputError(
            f"LabeledTasks: {name} must be a whole number from {least} on or a pair (low, high) of them, got {value!r}"
        )
    return ends[0], ends[1]


def _number(name: str, value: int) -> int:
    if not isinstance(value, int) or value < 1:
        raise InputError(f"LabeledTasks: {name} must be a whole number from 1 on, got {value!r}")
    return value

"""The sampler whose tasks differ in how their views are made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

import torch
from torch import Tensor

from metatc2.augment import FAMILIES, Views
from metatc2.augment.families import BASE, recipe
from metatc2.augment.units import in_units_of
from metatc2.data.store import ImageStore, require_store
from metatc2.episodes.episode import Episode, TaskIdentity
from metatc2.episodes.epochs import Cut, EpochSampler, read_ahead
from metatc2.episodes.sampler import assign_evenly
from metatc2.errors import InputError, nearest

Recipes = Literal["drawn", "one", "all-but-one"]


class RecipeTasks(EpochSampler):
    """Self-supervised tasks of which each has a recipe of views of its own, so that tasks ask for different things.

    A recipe is a vector of strengths of the four families of augmentations (`metatc2.augment.families`). Images are assigned to
    tasks at random; every epoch visits the rows in a new order and leaves out the incomplete last batch. Views are drawn anew
    for every image. The episode's `TaskIdentity` holds the strengths as ``conditions``, ``(tasks, 4)``.

    Descriptors of all tasks are in the units of one recipe, the sampler's ``views``, in which every family has strength 1:
    ``sampler.views.apply`` makes every view again, and the descriptors of different tasks can be compared.

    Args:
        store: where the images are.
        base: the recipe that the families are added to; by default a weak crop.
        kinds: ``"drawn"``: in every task each family is on with probability 1/2, at least one of them is, and its strength is
            uniform in [0.5, 1], so that no two tasks are alike and all are of one kind; ``"one"``: a task has one family alone,
            at strength 1; ``"all-but-one"``: all families but one (the tasks of leave-one-out contrastive learning, Xiao et
            al., arXiv 2008.05659). The kind is then the index of that family; kinds are assigned evenly, in an order drawn anew
            for each episode.
        tasks: number of tasks in a batch.
        batch: images in a batch; `tasks` must divide it.
        support: share of each task's samples on its support side, strictly between 0 and 1.
        split: rows of the store to draw from.
        seed: of the generator that everything is drawn from.
        rank: of a process that draws episodes of its own, see `TaskSource`.
        device: where views are made and episodes lie.

    Raises:
        InputError: if sizes do not fit each other or the store, or `kinds` is unknown.

    >>> store = ImageStore("noise", torch.randint(0, 255, (32, 3, 16, 16)).byte(), torch.zeros(32, dtype=torch.int64))
    >>> episode = RecipeTasks(store, kinds="one", tasks=4, batch=32).sample()
    >>> episode.support.images.shape, sorted(episode.identity.kinds.tolist())
    (torch.Size([4, 4, 2, 3, 16, 16]), [0, 1, 2, 3])
    >>> bool((episode.identity.conditions == torch.eye(4)[episode.identity.kinds]).all())
    True
    """

    def __init__(
        self,
        store: ImageStore,
        base: Views = BASE,
        *,
        kinds: Recipes = "drawn",
        tasks: int,
        batch: int,
        support: float = 0.5,
        split: str = "all",
        seed: int = 0,
        rank: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        require_store(store, "RecipeTasks")
        if kinds not in _DRAW:
            raise InputError(f"RecipeTasks: unknown kinds {kinds!r}; {nearest(kinds, _DRAW)}")
        self.cut = Cut("RecipeTasks", tasks, batch, support)
        rows = store.rows(split)
        self.cut.check_enough(f"{store.name}:{split}", len(rows))
        self.store, self.base, self.kinds, self.names = store, base, kinds, _NAMES[kinds]
        self.split = split
        #: The recipe that descriptors are in the units of.
        self.views = recipe([1.0] * len(FAMILIES), base)
        self.device = torch.device(device)
        super().__init__(rows, batch, seed, rank)

    def draw(self) -> Episode:
        """The next episode: float images ``(tasks, samples, 2, C, H, W)``; all tensors on the sampler's device."""
        tasks = self.own(self.cut.tasks)
        own = self.cut.of(tasks)
        rows = self.epochs.next(self.generator)[own]
        kinds, strengths = _DRAW[self.kinds](self.cut.tasks, self.generator)
        descriptors = torch.cat([self._draw(recipe(task, self.base)) for task in strengths.tolist()])[own]
        made, descriptors = self.views.make(self.store.images[rows].to(self.device), descriptors)
        read_ahead(self.store, self.epochs.coming()[own])
        identity = TaskIdentity(kinds[tasks].to(self.device), self.names, strengths[tasks].to(self.device))
        return Episode(*self.cut.sides(made, descriptors, rows.to(self.device)), identity)

    def _draw(self, own: Views) -> Tensor:
        """Descriptors of one task, ``(samples, 2, P)``."""
        drawn = own.sample(2 * self.cut.samples, self.generator)
        return in_units_of(self.views, own, drawn).view(self.cut.samples, 2, -1)


def _drawn(tasks: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    # One of the subsets that are not empty, all equally likely: a coin for each family, tossed again where all are off.
    subset = torch.randint(1, 2 ** len(FAMILIES), (tasks, 1), generator=generator)
    on = (subset >> torch.arange(len(FAMILIES))) % 2
    strength = 0.5 + 0.5 * torch.rand(tasks, len(FAMILIES), generator=generator)
    return torch.zeros(tasks, dtype=torch.int64), on * strength


def _one(tasks: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    kinds = assign_evenly(len(FAMILIES), tasks, generator)
    return kinds, torch.eye(len(FAMILIES))[kinds]


def _all_but_one(tasks: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    kinds, one = _one(tasks, generator)
    return kinds, 1 - one


#: Kinds ``(tasks,)`` and strengths ``(tasks, families)`` of an episode's tasks, and what the kinds are called.
_DRAW: Final[dict[str, Callable[[int, torch.Generator], tuple[Tensor, Tensor]]]] = {
    "drawn": _drawn,
    "one": _one,
    "all-but-one": _all_but_one,
}
_NAMES: Final[dict[str, tuple[str, ...]]] = {
    "drawn": ("drawn",),
    "one": FAMILIES,
    "all-but-one": tuple(f"all but {family}" for family in FAMILIES),
}

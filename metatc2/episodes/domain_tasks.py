"""The sampler whose tasks differ in where their images come from."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from metatc2.augment import Views
from metatc2.data.store import ImageStore, require_store
from metatc2.data.streaming import StreamedImages
from metatc2.episodes.episode import Episode, TaskIdentity
from metatc2.episodes.epochs import SMALLEST_TASK, Cut, read_ahead
from metatc2.episodes.sampler import GroupOrders, TaskSource, assign_evenly, seeded_stream
from metatc2.errors import InputError


class DomainTasks(TaskSource):
    """Self-supervised tasks of which each has the images of one domain (style, vendor, font) alone.

    Domains are assigned evenly to tasks, in an order drawn anew for each episode: all are different where there are enough of
    them. Each domain gives its images in an order of its own, and shuffles them anew when fewer are left than an episode
    takes; so small domains come round more often than large ones, and no image comes twice in an episode. The episode's
    `TaskIdentity` has the domains of the split as kinds, and one-hot ``conditions``, ``(tasks, domains)``.

    Args:
        store: where the images are.
        views: how views are made, in every task alike.
        tasks: number of tasks in a batch.
        batch: images in a batch; `tasks` must divide it.
        support: share of each task's samples on its support side, strictly between 0 and 1.
        split: rows of the store to draw from.
        seed: of the generator that everything is drawn from.
        rank: of a process that draws episodes of its own, see `TaskSource`.
        device: where views are made and episodes lie.

    Raises:
        InputError: if sizes do not fit each other, the split has a single domain, or a domain has too few images.

    >>> domains = torch.arange(40) % 2
    >>> images = torch.randint(0, 255, (40, 3, 16, 16)).byte()
    >>> store = ImageStore("two", images, torch.zeros(40, dtype=torch.int64), domains, domain_names=("ink", "photo"))
    >>> episode = DomainTasks(store, Views.natural(), tasks=2, batch=16).sample()
    >>> episode.identity.names, bool((domains[episode.support.index] == episode.identity.kinds[:, None]).all())
    (('ink', 'photo'), True)
    """

    def __init__(
        self,
        store: ImageStore,
        views: Views,
        *,
        tasks: int,
        batch: int,
        support: float = 0.5,
        split: str = "all",
        seed: int = 0,
        rank: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        require_store(store, "DomainTasks")
        super().__init__(seed, rank)
        self.generator = seeded_stream(seed, rank)
        self.cut = Cut("DomainTasks", tasks, batch, support)
        rows, where = store.rows(split), f"{store.name}:{split}"
        present, counts = store.domains[rows].unique(return_counts=True)
        if len(present) < 2:
            raise InputError(
                f"DomainTasks: {where} has {len(present) or 'no'} domain{'' if len(present) == 1 else 's'}, so tasks cannot "
                "differ by it; use a split or source of several (domains:PATH), or tasks that differ in their views "
                "(RecipeTasks; episode.tasks_differ_by = views)"
            )
        self.store, self.views, self.names = store, views, tuple(store.domain_names[d] for d in present.tolist())
        self.split = split
        self._check_enough(where, counts)
        self.device = torch.device(device)
        self._rows = rows[store.domains[rows].argsort(stable=True)]
        self._firsts = counts.cumsum(0) - counts
        self._counts = counts
        self.begin()

    def begin(self) -> None:
        """Shuffle all orders anew."""
        self._orders = GroupOrders(self._counts)

    def _check_enough(self, where: str, counts: Tensor) -> None:
        """The smallest domain must hold what an episode may take of it."""
        domains, tasks = len(counts), self.cut.tasks
        fewest, smallest = int(counts.min()), self.names[int(counts.argmin())]
        taken = self.cut.samples * _most_of_one(tasks, domains)
        if fewest >= taken:
            return
        problem = (
            f"DomainTasks: domain {smallest!r} of {where} has {fewest} images and an episode may take {taken} of it"
        )
        for fitting in (tasks, min(tasks, domains)):
            samples = fewest // _most_of_one(fitting, domains)
            if samples >= SMALLEST_TASK:
                also = "" if fitting == tasks else f"episode.tasks = {fitting} and "
                raise InputError(f"{problem}; set {also}episode.batch = {fitting * samples}")
        raise InputError(
            f"{problem}; at least {SMALLEST_TASK} are needed, so leave this domain out or use another split"
        )

    def draw(self) -> Episode:
        """The next episode: float images ``(tasks, samples, 2, C, H, W)``; all tensors on the sampler's device."""
        tasks = self.own(self.cut.tasks)
        own = self.cut.of(tasks)
        kinds, rows = self._draw()
        kinds, rows = kinds[tasks], rows[own]
        drawn = self.views.sample(2 * self.cut.batch, self.generator).unflatten(0, (-1, 2))[own]
        made, descriptors = self.views.make(self.store.images[rows].to(self.device), drawn)
        self._look_ahead(own)
        identity = TaskIdentity(kinds, self.names, one_hot(kinds, len(self.names)).float()).map(self._place)
        return Episode(*self.cut.sides(made, descriptors, self._place(rows)), identity)

    def _draw(self) -> tuple[Tensor, Tensor]:
        """The domain of each task, ``(tasks,)``, and the rows of all, ``(batch,)``, task by task."""
        kinds = assign_evenly(len(self.names), self.cut.tasks, self.generator)
        rows = torch.empty(self.cut.tasks, self.cut.samples, dtype=torch.int64)
        for domain in kinds.unique():
            own = kinds == domain
            # All tasks of a domain at once: an order that is shuffled between two of them could give an image twice.
            places = self._orders.draw(domain[None], int(own.sum()) * self.cut.samples, self.generator)
            rows[own] = self._rows[self._firsts[domain] + places].view(-1, self.cut.samples)
        return kinds, rows.flatten()

    def _look_ahead(self, own: slice) -> None:
        """The next episode's rows are drawn, and put back."""
        images = self.store.images
        if isinstance(images, StreamedImages) and images.workers:
            state = self.state_dict()
            coming = self._draw()[1][own]
            self.load_state_dict(state)
            read_ahead(self.store, coming)

    def _place(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device)

    def state_dict(self) -> dict[str, Any]:
        """Generator, and the order of each domain with how much of it is left."""
        return {**super().state_dict(), "images": self._orders.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where the state was taken.

        Raises:
            InputError: if it was taken on other domains.
        """
        self._orders.load_state_dict(state["images"])
        super().load_state_dict(state)


def _most_of_one(tasks: int, domains: int) -> int:
    """The most tasks of an episode that have the same domain."""
    return -(-tasks // domains)

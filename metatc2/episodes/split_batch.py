"""The sampler that cuts every batch into self-supervised tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from torch import Tensor

from metatc2.augment import Views
from metatc2.data.store import ImageStore, require_store
from metatc2.episodes.episode import Episode
from metatc2.episodes.epochs import Cut, EpochSampler, read_ahead
from metatc2.errors import InputError, nearest

Assign = Literal["random", "cluster", "domain"]


class SplitBatch(EpochSampler):
    """Cut each batch of images into self-supervised tasks (TC², arXiv 2511.13787, its task construction).

    Every epoch visits the rows in a new order and leaves out the incomplete last batch. Views are drawn anew for every image.

    Args:
        store: where the images are.
        views: how views are made.
        tasks: number of tasks M in a batch.
        batch: images in a batch; `tasks` must divide it.
        support: share of each task's samples on its support side, strictly between 0 and 1.
        assign: ``"random"`` assigns images to tasks at random; ``"cluster"`` puts similar images into one task (balanced
            k-means), so that tasks differ and negatives are hard; ``"domain"`` puts images of the same or of neighboring
            domains of the store (style, vendor, font) into one task.
        share_descriptors: how many images that follow one another in a task get views of the same descriptors; 1: each its own.
        split: rows of the store to draw from.
        seed: of the generator that everything is drawn from.
        rank: of a process that draws episodes of its own, see `TaskSource`.
        device: where views are made.
        embed: ``(N, C, H, W)`` float → ``(N, D)``, what ``"cluster"`` compares; by default pixels averaged to 7 × 7.

    Raises:
        InputError: if sizes do not fit each other or the store.

    >>> store = ImageStore("noise", torch.randint(0, 255, (32, 1, 16, 16)).byte(), torch.zeros(32, dtype=torch.int64))
    >>> episode = SplitBatch(store, Views.none(), tasks=2, batch=16).sample()
    >>> episode.support.images.shape
    torch.Size([2, 4, 2, 1, 16, 16])
    """

    def __init__(
        self,
        store: ImageStore,
        views: Views,
        *,
        tasks: int,
        batch: int,
        support: float = 0.5,
        assign: Assign = "random",
        share_descriptors: int = 1,
        split: str = "all",
        seed: int = 0,
        rank: int = 0,
        device: torch.device | str = "cpu",
        embed: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        require_store(store, "SplitBatch")
        self.cut = Cut("SplitBatch", tasks, batch, support)
        rows = store.rows(split)
        self.cut.check_enough(f"{store.name}:{split}", len(rows))
        if assign not in get_args(Assign):
            raise InputError(f"SplitBatch: unknown assign {assign!r}; {nearest(assign, get_args(Assign))}")
        if assign == "domain" and len(store.domains[rows].unique()) < 2:
            raise InputError(
                f"SplitBatch: {store.name}:{split} has a single domain, so tasks cannot be cut by it; use assign 'random'"
            )
        if share_descriptors < 1 or self.cut.samples % share_descriptors:
            raise InputError(
                f"SplitBatch: tasks have {self.cut.samples} images, which cannot be put in groups of share_descriptors = "
                f"{share_descriptors}; use a divisor"
            )
        self.store, self.views, self.assign, self.share_descriptors = store, views, assign, share_descriptors
        self.split = split
        self.device, self.embed = torch.device(device), embed or _average_pixels
        super().__init__(rows, batch, seed, rank)

    def draw(self) -> Episode:
        """The next episode: float images ``(tasks, samples, 2, C, H, W)`` on the sampler's device."""
        own = self.cut.of(self.own(self.cut.tasks))
        rows = self.epochs.next(self.generator)
        if self.assign == "cluster":
            whole = self.store.images[rows]  # which tasks are of this rank depends on all images
            order = self._cluster(whole)
            rows, images = rows[order][own], whole[order][own]
        else:
            rows = self._by_task(rows)[own]
            images = self.store.images[rows]
        drawn = self.views.sample(2 * self.cut.batch // self.share_descriptors, self.generator)
        drawn = drawn.unflatten(0, (-1, 2)).repeat_interleave(self.share_descriptors, 0)[own]
        made, descriptors = self.views.make(images.to(self.device), drawn)
        coming = self.epochs.coming()
        if self.assign == "cluster":
            read_ahead(self.store, coming)
        else:
            read_ahead(self.store, self._by_task(coming)[own])
        return Episode(*self.cut.sides(made, descriptors, rows))

    def _by_task(self, rows: Tensor) -> Tensor:
        """Rows of a batch, task by task, where the images need not be looked at."""
        # Sorting is stable: within a domain the order stays the batch's, which is random.
        return rows[self.store.domains[rows].argsort(stable=True)] if self.assign == "domain" else rows

    def _cluster(self, images: Tensor) -> Tensor:
        """Order of the images in which each run of ``batch / tasks`` is one cluster, exactly balanced."""
        features = self.embed(images.to(self.device).float() / 255).detach().float().cpu().flatten(1).numpy()
        seed = int(torch.randint(2**31 - 1, (1,), generator=self.generator))
        centers = KMeans(self.cut.tasks, n_init=1, max_iter=20, random_state=seed).fit(features).cluster_centers_
        distance = ((features[:, None] - centers[None]) ** 2).sum(-1)
        cost = np.repeat(distance, self.cut.samples, axis=1)
        _, assigned = linear_sum_assignment(cost)
        order = torch.from_numpy(np.argsort(assigned, kind="stable"))
        # The assignment leaves the samples of a task in batch order, which is random; support and query need no shuffle.
        return order


def _average_pixels(images: Tensor) -> Tensor:
    return torch.nn.functional.adaptive_avg_pool2d(images, 7).flatten(1)

"""Jigsaw (Noroozi and Favaro, ECCV 2016, arXiv 1603.09246): tell in which order the tiles of an image were laid."""

from __future__ import annotations

import math
from functools import cache
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge, Le
from numpy.typing import NDArray
from torch import Tensor

from metatc2.errors import InputError
from metatc2.objectives.pretext import Pretext, first_view, head
from metatc2.objectives.pretexts.tiles import cut_tiles
from metatc2.objectives.registry import register_objective
from metatc2.ops.numbers import PositiveCount, whole

_MOST = 1000  # permutations: as many as the authors' code has


def distant_permutations(items: int, count: int) -> Tensor:
    """Permutations that differ in as many places as can be: each next one is the farthest on average from those before.

    Algorithm 1 of the paper. The first and ties are drawn by a seed of its own, so that the set is always the same.

    Args:
        items: things to permute, at most 9.
        count: how many permutations.

    Returns:
        ``(count, items)``, int64, each row another permutation.

    Raises:
        InputError: if there are not so many.

    >>> distant_permutations(4, 4).float().mean(0).tolist()  # each item once in each place
    [1.5, 1.5, 1.5, 1.5]
    """
    most = math.factorial(items)
    if not 2 <= count <= most:
        raise InputError(f"{items} tiles have {most} orders; permutations must be from 2 to {most}, found {count}")
    left = np.random.default_rng(0).permutation(_every_permutation(items))
    places = [np.ascontiguousarray(place) for place in left.T]
    distance = np.zeros(most, dtype=np.int32)
    chosen = []
    for _ in range(count):
        farthest = int(distance.argmax())
        chosen.append(left[farthest])
        # Place by place, in bytes that lie side by side: a thousand of nine in a second, not in half a minute.
        away = np.zeros(most, dtype=np.int8)
        for place, item in zip(places, left[farthest], strict=True):
            away += place != item
        distance += away
        distance[farthest] = -(2**30)  # not twice
    return torch.from_numpy(np.stack(chosen).astype(np.int64))


def _every_permutation(items: int) -> NDArray[np.int8]:
    """All in the order of a dictionary, ``(items!, items)``, int8: each first item before all orders of the others.

    >>> _every_permutation(3).tolist()
    [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]
    """
    every = np.zeros((1, 1), dtype=np.int8)
    for n in range(2, items + 1):
        first = np.arange(n, dtype=np.int8)[:, None, None]
        others = every + (every >= first)  # the item that stands first is left out
        every = np.concatenate([np.broadcast_to(first, (*others.shape[:2], 1)), others], -1).reshape(-1, n)
    return every


@cache
def _permutations(items: int, count: int) -> Tensor:
    return distant_permutations(items, count)


@register_objective("jigsaw")
class Jigsaw(Pretext):
    """Cross-entropy of the order of the tiles of each sample's first view, by a head on their projections in that order.

    Tiles go through the encoder one by one, and every order of a sample is asked at once: its tiles are encoded only once. A
    sample costs ``grid²`` tiles; nine of 16 pixels cost as much as 2.25 images of 32.

    Args:
        dim: width D of the projections.
        grid: tiles a side, 2 or 3.
        permutations: orders to tell apart, see `distant_permutations`.
        tile: side of a tile in pixels; unset: half the image's, at least 16.
        hidden: width of the head's hidden layer.

    Raises:
        InputError: if an argument is out of range.

    >>> objective = Jigsaw(dim=8, grid=2, permutations=5)
    >>> images, _ = objective.prepare(torch.rand(2, 5, 2, 3, 32, 32))
    >>> images.shape, objective.logits(torch.rand(2, 5, 4, 8)).shape
    (torch.Size([2, 5, 4, 3, 16, 16]), torch.Size([2, 5, 5, 5]))
    """

    orders: Tensor

    def __init__(
        self,
        dim: int,
        grid: Annotated[int, Ge(2), Le(3)] = 3,
        permutations: Annotated[int, Ge(2), Le(_MOST)] = 24,
        tile: PositiveCount | None = None,
        hidden: PositiveCount = 256,
    ) -> None:
        super().__init__(dim)
        if grid not in (2, 3):  # sixteen tiles have 2e13 orders
            raise InputError(f"{self.name}: grid must be 2 or 3, found {grid}")
        self.grid, self.views, self.tile = grid, grid**2, tile
        count = whole(permutations, f"{self.name}: permutations", 2)
        if count > _MOST:
            raise InputError(f"{self.name}: permutations must be at most {_MOST}, found {count}")
        self.head = head(self.views * self.dim, whole(hidden, f"{self.name}: hidden", 1), count)
        self.register_buffer("orders", _permutations(self.views, count).clone(), persistent=False)

    def prepare(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Tiles of the first view as they lie in it, ``(tasks, samples, grid², C, tile, tile)``."""
        return cut_tiles(first_view(images, self), self.grid, self.tile), None

    def logits(self, z: Tensor) -> Tensor:
        """Of the tiles in each order, ``(tasks, samples, orders, orders)``."""
        scores: Tensor = self.head(z[..., self.orders, :].flatten(-2))
        return scores

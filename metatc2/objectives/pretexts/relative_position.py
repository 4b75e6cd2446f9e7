"""Relative position (Doersch et al., ICCV 2015, arXiv 1505.05192): tell where a tile lies from the one in the middle."""

from __future__ import annotations

import torch
from torch import Tensor

from metatc2.objectives.pretext import Pretext, first_view, head
from metatc2.objectives.pretexts.tiles import cut_tiles
from metatc2.objectives.registry import register_objective
from metatc2.ops.numbers import PositiveCount, whole

_GRID, _MIDDLE = 3, 4
_AROUND = [place for place in range(_GRID**2) if place != _MIDDLE]


@register_objective("relative-position")
class RelativePosition(Pretext):
    """Cross-entropy of the place of each of the eight outer tiles, by a head on the projections of the middle one and it.

    Of each sample's first view; all eight pairs are asked at once. The authors draw one pair, move tiles by some pixels and
    drop colors, which the recipe of the views may do here.

    Args:
        dim: width D of the projections.
        tile: side of a tile in pixels; unset: half the image's, at least 16.
        hidden: width of the head's hidden layer.

    Raises:
        InputError: if an argument is out of range.

    >>> objective = RelativePosition(dim=8)
    >>> images, _ = objective.prepare(torch.rand(2, 5, 2, 3, 32, 32))
    >>> images.shape, objective.logits(torch.rand(2, 5, 9, 8)).shape
    (torch.Size([2, 5, 9, 3, 16, 16]), torch.Size([2, 5, 8, 8]))
    """

    views = _GRID**2

    def __init__(self, dim: int, tile: PositiveCount | None = None, hidden: PositiveCount = 256) -> None:
        super().__init__(dim)
        self.tile = tile
        self.head = head(2 * self.dim, whole(hidden, f"{self.name}: hidden", 1), len(_AROUND))

    def prepare(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Tiles of the first view, ``(tasks, samples, 9, C, tile, tile)``."""
        return cut_tiles(first_view(images, self), _GRID, self.tile), None

    def logits(self, z: Tensor) -> Tensor:
        """Of each outer tile, ``(tasks, samples, 8, 8)``."""
        around = z[..., _AROUND, :]
        middle = z[..., _MIDDLE : _MIDDLE + 1, :].expand_as(around)
        scores: Tensor = self.head(torch.cat([middle, around], -1))
        return scores

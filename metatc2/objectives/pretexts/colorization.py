"""Colorization (after Larsson et al., ECCV 2016, arXiv 1603.06668): tell the colors of an image from its gray values."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, log_softmax

from metatc2.data.image_io import LUMA
from metatc2.errors import InputError
from metatc2.objectives.base import Embeddings, given
from metatc2.objectives.pretext import Pretext, first_view
from metatc2.objectives.registry import register_objective
from metatc2.ops.numbers import PositiveCount, whole
from metatc2.ops.precision import upcast

_WIDEST = 0.3  # of Cb and Cr; bins reach so far, and what is beyond falls into the last


def luma(images: Tensor) -> Tensor:
    """Gray values ``(..., 1, H, W)`` of colors ``(..., 3, H, W)``, ITU-R BT.601."""
    gray: Tensor = (images * images.new_tensor(LUMA)[:, None, None]).sum(-3, keepdim=True)
    return gray


def chroma_histograms(images: Tensor, grid: int, bins: int) -> Tensor:
    """How the pixels of every cell are distributed over blue and over red difference (Cb, Cr of ITU-R BT.601).

    Args:
        images: ``(..., 3, H, W)`` in [0, 1].
        grid: cells a side.
        bins: of each of the two differences, equal parts of [-0.3, 0.3]; what is beyond counts to the last.

    Returns:
        ``(..., grid², 2, bins)``, shares that sum to 1.

    >>> gray = torch.full((3, 4, 4), 0.5)
    >>> chroma_histograms(gray, grid=1, bins=3).tolist()
    [[[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]]]
    """
    flat = images.reshape(-1, *images.shape[-3:])
    gray = luma(flat)
    blue, red = (flat[:, 2:] - gray) / (2 - 2 * LUMA[2]), (flat[:, :1] - gray) / (2 - 2 * LUMA[0])
    chroma = torch.cat([blue, red], 1)
    place = ((chroma + _WIDEST) * (bins / (2 * _WIDEST))).long().clamp(0, bins - 1)
    inside = place[:, :, None] == torch.arange(bins, device=place.device)[:, None, None]
    shares = adaptive_avg_pool2d(inside.flatten(1, 2).to(flat.dtype), grid)
    cells: Tensor = shares.unflatten(1, (2, bins)).flatten(-2).movedim(-1, 1)
    return cells.view(*images.shape[:-3], grid**2, 2, bins)


@register_objective("colorization")
class Colorization(Pretext):
    """Cross-entropy with the `chroma_histograms` of each sample's first view, told from its gray values by a linear head.

    As in the paper colors are classes and not numbers, so that a car may be red or blue and need not be gray; ours is that the
    encoder's one vector tells a coarse grid of them, and that Cb and Cr stand for hue and chroma. Views should keep colors:
    where the recipe jitters them or makes images gray, that is what the answers are.

    Args:
        dim: width D of the projections.
        grid: cells a side.
        bins: of each of the two color differences; of an odd number one has no color in its middle.

    Raises:
        InputError: if an argument is out of range. In use: if images have no three channels.

    >>> images, answers = Colorization(dim=8, grid=2).prepare(torch.rand(2, 5, 2, 3, 16, 16))
    >>> images.shape, answers.shape
    (torch.Size([2, 5, 1, 3, 16, 16]), torch.Size([2, 5, 1, 72]))
    """

    views = 1

    def __init__(self, dim: int, grid: PositiveCount = 4, bins: Annotated[int, Ge(2)] = 9) -> None:
        super().__init__(dim)
        self.grid, self.bins = whole(grid, f"{self.name}: grid", 1), whole(bins, f"{self.name}: bins", 2)
        self.head = nn.Linear(self.dim, self.grid**2 * 2 * self.bins)

    def prepare(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Gray values in three equal channels, ``(tasks, samples, 1, 3, H, W)``, and the histograms."""
        seen = first_view(images, self)
        if seen.shape[2] != 3:
            raise InputError(
                f"colorization tells colors, and these images have {seen.shape[2]} channel{'s' * (seen.shape[2] != 1)}; use a "
                "source of color images, or another objective"
            )
        answers = chroma_histograms(seen, self.grid, self.bins).flatten(-3)
        return luma(seen).expand_as(seen)[:, :, None], answers[:, :, None]

    def logits(self, z: Tensor) -> Tensor:
        """Of each cell and color difference, ``(tasks, samples, 2 · grid², bins)``."""
        scores: Tensor = self.head(z[..., 0, :])
        by_bin: Tensor = scores.unflatten(-1, (-1, self.bins))
        return by_bin

    def per_task(self, e: Embeddings) -> Tensor:
        """Loss of every task, ``(tasks,)``: cross-entropy with the histograms."""
        answers = given(e.answers, "answers", self)
        with upcast(self.checked(e.projections), answers) as (z, answers):
            shares = answers[..., 0, :].unflatten(-1, (-1, self.bins))
            losses: Tensor = -(shares * log_softmax(self.logits(z), -1)).sum(-1).mean((-1, -2))
            return losses

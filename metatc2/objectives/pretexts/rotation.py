"""Rotation (Gidaris et al., ICLR 2018, arXiv 1803.07728): tell by how many quarter turns an image was turned."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from metatc2.errors import InputError
from metatc2.objectives.pretext import Pretext, first_view
from metatc2.objectives.registry import register_objective

TURNS = 4


def quarter_turns(images: Tensor) -> Tensor:
    """Square images turned counterclockwise by 0, 90, 180 and 270 degrees; pixels are moved and none is interpolated.

    Args:
        images: ``(..., C, H, H)``.

    Returns:
        ``(..., 4, C, H, H)``.

    Raises:
        InputError: if they are not square.

    >>> quarter_turns(torch.tensor([[[0.0, 1.0], [2.0, 3.0]]]))[:, 0].tolist()[1]
    [[1.0, 3.0], [0.0, 2.0]]
    """
    if images.shape[-1] != images.shape[-2]:
        raise InputError(
            f"rotation turns square images, found {images.shape[-2]} × {images.shape[-1]} pixels; crop them, or set "
            "data.image_size"
        )
    return torch.stack([torch.rot90(images, turn, (-2, -1)) for turn in range(TURNS)], -4)


@register_objective("rotation")
class Rotation(Pretext):
    """Cross-entropy of the four `quarter_turns` of each sample's first view, all of them in one batch, by a linear head.

    A sample costs four images where objectives of two views cost two.

    Args:
        dim: width D of the projections.

    >>> images, _ = Rotation(dim=8).prepare(torch.rand(2, 5, 2, 3, 16, 16))
    >>> images.shape
    torch.Size([2, 5, 4, 3, 16, 16])
    """

    views = TURNS

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.head = nn.Linear(self.dim, TURNS)

    def prepare(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """The first view in all four turns, ``(tasks, samples, 4, C, H, W)``."""
        return quarter_turns(first_view(images, self)), None

    def logits(self, z: Tensor) -> Tensor:
        """Of each turned image, ``(tasks, samples, 4, 4)``."""
        scores: Tensor = self.head(z)
        return scores

"""Tiles of images, for pretexts that ask where they belong."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import interpolate

from metatc2.errors import InputError
from metatc2.ops.numbers import whole

SMALLEST = 16  # pixels: an encoder that halves four times makes one of it
_CELL = 3  # pixels: less is no tile once its margin is cut


def cut_tiles(images: Tensor, grid: int, size: int | None = None) -> Tensor:
    """The middles of ``grid × grid`` cells, row by row, resized to squares (bilinear, antialiased).

    A tenth of a cell, at least a pixel, is cut from each of its sides, so that edges do not tell which tiles are neighbors
    (the gaps of Noroozi and Favaro 2016, arXiv 1603.09246, section 3; theirs are drawn anew for each image).

    Args:
        images: ``(..., C, H, W)``.
        grid: cells a side.
        size: side of a tile in pixels; None is half the image's, at least 16.

    Returns:
        ``(..., grid², C, size, size)``.

    Raises:
        InputError: if a cell is smaller than three pixels.

    >>> import torch
    >>> image = torch.arange(36.0).view(1, 6, 6)
    >>> cut_tiles(image, grid=2, size=1)[:, 0, 0, 0].tolist()
    [7.0, 10.0, 25.0, 28.0]
    """
    height, width = images.shape[-2:]
    cell = min(height, width) // grid
    if cell < _CELL:
        raise InputError(
            f"images of {height} × {width} pixels have no {grid} × {grid} tiles of {_CELL} pixels or more; use larger images "
            "(data.image_size)"
        )
    margin = max(1, cell // 10)
    edge = max(SMALLEST, min(height, width) // 2) if size is None else whole(size, "tiles: size", 1)
    # (..., C, grid, cell, grid, cell), then the grid before the channels.
    cells = images[..., : grid * cell, : grid * cell].unflatten(-1, (grid, cell)).unflatten(-3, (grid, cell))
    inside = cells[..., margin : cell - margin, :, margin : cell - margin]
    apart = inside.movedim((-4, -2), (-5, -4)).flatten(-5, -4)
    flat = apart.reshape(-1, *apart.shape[-3:])
    resized = interpolate(flat, size=(edge, edge), mode="bilinear", align_corners=False, antialias=True)
    return resized.view(*apart.shape[:-2], edge, edge)

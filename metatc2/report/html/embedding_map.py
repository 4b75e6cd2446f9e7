"""The embedding map as data for the page's script."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from metatc2.io.plain_text import visible
from metatc2.report.figures import View
from metatc2.report.figures.base import PALETTE
from metatc2.report.figures.embedding_map import SHAPES
from metatc2.report.html.page import MapData
from metatc2.report.html.sprite import sprite_sheet

_WIDTH, _HEIGHT, _MARGIN = 720, 540, 18

# Outlines around (0, 0), as `SHAPES` are named, of about equal area.
_PATHS = {
    "o": "M-5,0a5,5 0 1,0 10,0a5,5 0 1,0 -10,0z",
    "s": "M-4.5,-4.5h9v9h-9z",
    "^": "M0,-5.8L5.6,4.4H-5.6z",
    "D": "M0,-6.2L6.2,0L0,6.2L-6.2,0z",
    "v": "M0,5.8L5.6,-4.4H-5.6z",
}


def map_data(
    views: Sequence[View], classes: Sequence[int], class_names: Sequence[str], domains: Sequence[str], images: Tensor
) -> MapData:
    """Everything that the map shows.

    Args:
        views: all of the same n images.
        classes: ``(n,)``: indices into `class_names`.
        class_names: one a class.
        domains: ``(n,)`` names, or none.
        images: uint8 ``(n, C, H, W)``.
    """
    sprite, tile, across = sprite_sheet(images)
    # The page's script looks names up by what the page shows.
    class_names, domains = [visible(name) for name in class_names], [visible(name) for name in domains]
    return MapData(
        width=_WIDTH,
        height=_HEIGHT,
        classes=[
            {"name": name, "color": PALETTE[c % len(PALETTE)], "path": _PATHS[SHAPES[c % len(SHAPES)]]}
            for c, name in enumerate(class_names)
        ],
        points=[
            {
                "class": c,
                "words": class_names[c] + (f", {domains[i]}" if domains else ""),
                "sprite": [i % across, i // across],
            }
            for i, c in enumerate(classes)
        ],
        views=[
            {"encoder": visible(view.encoder), "projection": view.projection, "xy": _placed(view.xy).tolist()}
            for view in views
        ],
        sprite=sprite,
        tile=tile,
    )


def _placed(xy: NDArray[Any]) -> NDArray[Any]:
    """Into the map, each axis filling it."""
    low = xy.min(0)
    extent = np.maximum(xy.max(0) - low, 1e-12)
    size = np.array([_WIDTH - 2 * _MARGIN, _HEIGHT - 2 * _MARGIN])
    placed: NDArray[Any] = np.round(_MARGIN + (xy - low) / extent * size, 1)
    return placed

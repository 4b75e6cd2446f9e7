"""What the columns of a descriptor mean (CASSLE, Przewięźlikowski et al., arXiv 2306.06082).

A view is made in this order: the image is mirrored, a window of it is cut out and turned and sheared about its own
center, colors are jittered (brightness, contrast, saturation, hue), colors are dropped, the view is blurred,
solarized, inverted.

| columns | unit |
|---|---|
| blur 1 | σ in pixels of the view; 0 if not blurred |
| color 4 | (factor − 1) / range for brightness, contrast, saturation; hue shift / range; 0 if not applied |
| color_diff 3 | channel means before minus after the jitter; the one mean of a gray image is repeated |
| crop 4 | center y, center x, height, width of the window, as shares of the image *as seen after mirroring* |
| flip, grayscale, invert, solarize 1 each | 0 or 1 |
| rotation 1 | angle / range, clockwise positive |
| shear 2 | angle / range along x, along y |

A window at center x of a mirrored image covers what lies at 1 − x in the unmirrored one: this is "x mirrored on flip",
and nothing has to be subtracted (and rounded) again to make the view.
"""

from __future__ import annotations

from itertools import accumulate
from types import MappingProxyType
from typing import Final

_SIZES = {
    "blur": 1,
    "color": 4,
    "color_diff": 3,
    "crop": 4,
    "flip": 1,
    "grayscale": 1,
    "invert": 1,
    "rotation": 1,
    "shear": 2,
    "solarize": 1,
}

#: Columns of each part of a descriptor; the parts stand in alphabetical order.
DESCRIPTOR: Final = MappingProxyType(
    {name: slice(end - _SIZES[name], end) for name, end in zip(_SIZES, accumulate(_SIZES.values()), strict=True)}
)

#: Number of columns P of a descriptor.
DESCRIPTOR_SIZE: Final = sum(_SIZES.values())

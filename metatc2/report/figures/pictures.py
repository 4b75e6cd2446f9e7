"""Images in a figure: gray or color, with a name and a frame."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from metatc2.report.figures.base import FONT, PALETTE, plain, shorten


def show_image(axis: Any, image: Tensor, title: str, *, right: bool | None = None) -> None:
    """Draw one image.

    Args:
        axis: of matplotlib.
        image: uint8 ``(C, H, W)``; of more than 3 channels the first three are shown, of 2 the first.
        title: above it.
        right: whether a choice was right, told by a mark and the line of the frame as well as by its color; None: no choice.
    """
    pixels = image[0].numpy() if len(image) < 3 else image[:3].permute(1, 2, 0).numpy()
    axis.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axis.set_xticks([])
    axis.set_yticks([])
    mark = {None: "", True: "✓ ", False: "✗ "}[right]
    axis.set_title(plain(mark + shorten(title, 13)), fontsize=FONT, pad=3)
    color, style = {None: ("#555555", "solid"), True: (PALETTE[3], "solid"), False: (PALETTE[1], (0, (3, 2)))}[right]
    for spine in axis.spines.values():
        spine.set(color=color, linestyle=style, linewidth=1 if right is None else 2.2)

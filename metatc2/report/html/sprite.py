"""Many small pictures in one."""

from __future__ import annotations

import base64
import io
import math

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

_LARGEST = 48  # pixels; enough for a thumbnail, and 600 of them stay well below a megabyte


def sprite_sheet(images: Tensor) -> tuple[str, int, int]:
    """Put images into one PNG, row by row.

    Args:
        images: uint8 ``(n, C, H, H)``; made smaller where H is above 48. Of more than 3 channels the first three are shown as
            red, green and blue, of 2 the first.

    Returns:
        A data URI, the side of a tile in pixels, and the number of tiles in a row.

    >>> uri, tile, across = sprite_sheet(torch.zeros(5, 1, 8, 8, dtype=torch.uint8))
    >>> uri[:22], tile, across
    ('data:image/png;base64,', 8, 3)
    """
    images = images if images.shape[1] in (1, 3) else images[:, : 3 if images.shape[1] > 3 else 1]
    n, channels, side = images.shape[:3]
    if side > _LARGEST:
        smaller = interpolate(images.float(), size=_LARGEST, mode="bilinear", antialias=True)
        images, side = smaller.round().clamp(0, 255).byte(), _LARGEST
    across = math.ceil(math.sqrt(n))
    lines = math.ceil(n / across)
    sheet = torch.zeros(lines * across, channels, side, side, dtype=torch.uint8)
    sheet[:n] = images
    sheet = sheet.view(lines, across, channels, side, side).permute(0, 3, 1, 4, 2)
    pixels = sheet.reshape(lines * side, across * side, channels).numpy()
    content = io.BytesIO()
    Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(content, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode(), side, across

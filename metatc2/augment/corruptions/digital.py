"""What happens to a picture after it was taken: contrast, distortion, coarse pixels, JPEG."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn import functional as F

from metatc2.augment.corruptions._random import uniform

# Width over which the distortion changes, as a share of the shorter side.
_SMOOTH = 0.08


def contrast(images: Tensor, seeds: Sequence[int], factor: float) -> Tensor:
    """Bring every value closer to the mean of its image and channel."""
    del seeds
    mean = images.mean((2, 3), keepdim=True)
    return (images - mean) * factor + mean


def elastic_transform(images: Tensor, seeds: Sequence[int], amplitude: float) -> Tensor:
    """Move pixels along a smooth random field; `amplitude` is its root mean square, along each axis, over the shorter side.

    (The published one mixes a smooth field with an affine map, and the two change places between severities, so that
    a higher severity may move pixels less. Here is the field alone.)
    """
    height, width = images.shape[2:]
    side = min(height, width)
    noise = (2 * uniform(seeds, (2, height, width)) - 1).numpy()
    field = torch.from_numpy(gaussian_filter(noise, (0, 0, _SMOOTH * side, _SMOOTH * side), mode="reflect", truncate=3))
    field = field / field.square().mean((2, 3), keepdim=True).sqrt() * amplitude * side
    still = F.affine_grid(torch.eye(2, 3).expand(len(images), 2, 3), list(images.shape), align_corners=False)
    moved = still + 2 * field.movedim(1, 3) / torch.tensor([width, height])
    return F.grid_sample(images, moved, padding_mode="reflection", align_corners=False)


def pixelate(images: Tensor, seeds: Sequence[int], share: float) -> Tensor:
    """Show the image in a share of its pixels along each side, each the mean over its box.

    Where a box ends inside of a pixel, the pixel shows both boxes, each as far as it covers it. (The published one shows
    the nearest, and on small images the jumps from that outweigh the size of the boxes.)
    """
    del seeds
    for dim in (2, 3):
        side = images.shape[dim]
        few = max(1, int(share * side))
        means = _boxes(side, few)
        shown = means.T * side / few
        images = (images.movedim(dim, -1) @ (shown @ means).T).movedim(-1, dim)
    return images


def jpeg_compression(images: Tensor, seeds: Sequence[int], quality: float) -> Tensor:
    """Through JPEG at a quality of 1 to 100."""
    del seeds
    pixels = (images * 255).round().byte().movedim(1, -1).numpy()
    made = []
    for picture in pixels:
        file = BytesIO()
        Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture).save(
            file, "JPEG", quality=round(quality)
        )
        made.append(torch.from_numpy(np.array(Image.open(file))))
    return torch.stack(made).view(pixels.shape).movedim(-1, 1).float() / 255


def _boxes(many: int, few: int) -> Tensor:
    """Means over `few` equal boxes of `many` pixels, ``(few, many)``: a pixel counts as far as it lies in the box."""
    edges = torch.arange(few + 1, dtype=torch.float64) * many / few
    pixel = torch.arange(many, dtype=torch.float64)
    overlap = torch.minimum(edges[1:, None], pixel + 1) - torch.maximum(edges[:-1, None], pixel)
    return (overlap.clamp(min=0) * few / many).float()

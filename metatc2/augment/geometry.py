"""Mirror, crop, rotation and shear of every image as one bilinear sampling."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def sample_window(images: Tensor, crop: Tensor, angles: Tensor, flip: Tensor, size: tuple[int, int]) -> Tensor:
    """Cut a window out of every image, turned and sheared about its own center, at a new size.

    Samples stay within the window's outermost pixels before they are turned, so a window of whole pixels that is not
    turned is exactly "crop, then resize" without anti-aliasing. A sample that the turn moves out of the image takes the
    nearest border pixel: so a uniform background goes on, black or white. Angles follow torchvision's ``affine``.

    Args:
        images: float ``(N, C, H, W)``.
        crop: ``(N, 4)``: center y, center x, height, width as shares of the (mirrored) image.
        angles: ``(N, 3)``: rotation (clockwise), shear along x, shear along y, degrees.
        flip: bool ``(N,)``: mirror left and right before anything else.
        size: height and width of the result, pixels.

    Returns:
        ``(N, C, *size)``. The parameters are float64 on the CPU: the 64-bit arithmetic is rounded once, so a view does
        not depend on how the rows around it are laid out or vectorized.
    """
    height, width = images.shape[2:]
    center_y, center_x, share_y, share_x = (crop * crop.new_tensor([height, width, height, width])).unbind(1)
    dy = _offsets(size[0], share_y)
    dx = _offsets(size[1], share_x)
    (xx, xy), (yx, yy) = _inverse(angles)
    mirror = torch.where(flip, -1.0, 1.0)
    # grid_sample counts from -1 to 1 over the image; mirroring changes the sign of x there.
    along_x, along_y = mirror * 2 / width, 2 / height * torch.ones_like(mirror)
    columns = torch.stack([(along_x * xx)[:, None] * dx, (along_y * yx)[:, None] * dx])
    offsets = torch.stack([mirror * (2 * center_x / width - 1), 2 * center_y / height - 1])
    lines = torch.stack([(along_x * xy)[:, None] * dy, (along_y * yy)[:, None] * dy]) + offsets[..., None]
    columns, lines = columns.float().to(images.device), lines.float().to(images.device)
    grid = images.new_empty(len(images), *size, 2)
    for axis in range(2):
        torch.add(lines[axis, :, :, None], columns[axis, :, None, :], out=grid[..., axis])
    # The four bilinear weights sum to 1 only up to rounding.
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False).clamp_(0, 1)


def _offsets(count: int, extent: Tensor) -> Tensor:
    """Where `count` pixels spread over windows of `extent` pixels lie from their centers, ``(N, count)``."""
    share = (torch.arange(count, dtype=extent.dtype) + 0.5) / count - 0.5
    reach = ((extent - 1) / 2).clamp(min=0)[:, None]
    return torch.clamp(share * extent[:, None], -reach, reach)


def _inverse(angles: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Rows of the inverse of rotate ∘ shear_y ∘ shear_x, which leads from the view back to the image."""
    turn, shear_x, shear_y = angles.deg2rad().unbind(1)
    cos, sin, tan_x, tan_y = turn.cos(), turn.sin(), shear_x.tan(), shear_y.tan()
    yx, yy = tan_y * cos - sin, tan_y * sin + cos
    return (cos + tan_x * yx, sin + tan_x * yy), (yx, yy)

"""Seven patterns that lie on an object and turn and grow with it, and the plain one; arithmetic as in `outlines`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def _wave(t: Tensor, period: float) -> Tensor:
    """Signed distance to bands half a period wide, above 0 inside."""
    return ((t / period - (t / period).floor() - 0.5).abs() - 0.25) * period


def _from_line(t: Tensor, period: float) -> Tensor:
    """Distance to the middle of its cell, signed."""
    return (t / period - (t / period).floor() - 0.5) * period


def _edge(distance: Tensor, pixel: Tensor) -> Tensor:
    """Signed distance to share of the pixel covered: anti-aliased over one pixel."""
    return (distance / pixel + 0.5).clamp(0, 1)


def plain(u: Tensor, v: Tensor, depth: Tensor, pixel: Tensor) -> Tensor:
    """No mark."""
    return torch.zeros_like(u)


def stripes(u: Tensor, v: Tensor, depth: Tensor, pixel: Tensor) -> Tensor:
    """Bands across the object's axis."""
    return _edge(_wave(v, 0.6), pixel)


def checker(u: Tensor, v: Tensor, depth: Tensor, pixel: Tensor) -> Tensor:
    """A chessboard."""
    across, along = _edge(_wave(u + 0.225, 0.9), pixel), _edge(_wave(v, 0.9), pixel)
    return across * (1 - along) + along * (1 - across)


def dots(u: Tensor, v: Tensor, depth: Tensor, pixel: Tensor) -> Tensor:
    """Small discs on a lattice."""
    across, along = _from_line(u + 0.31, 0.62), _from_line(v, 0.62)
    return _edge(0.2 - (across.square() + along.square()).sqrt(), pixel)


def rings(u: Tensor, v: Tensor, depth: Tensor, pixel: Tensor) -> Tensor:
    """Bands round the origin."""
    return _edge(_wave((u.square() + v.square()).sqrt() + 0.14, 0.56), pixel)


def dipped(u: Tensor, v: Tensor, depth: Tensor, pixel: Tensor) -> Tensor:
    """The front."""
    return _edge(v + 0.15, pixel)


def border(u: Tensor, v: Tensor, depth: Tensor, pixel: Tensor) -> Tensor:
    """A rim along the outline."""
    return _edge(0.15 - depth, pixel)


def halves(u: Tensor, v: Tensor, depth: Tensor, pixel: Tensor) -> Tensor:
    """One side of the object's axis."""
    return _edge(u, pixel)


# Each takes place across and along the object's axis and depth below the outline, all ``(n, H, W)`` in radii of the object,
# and the side of a pixel in the same unit ``(n, 1, 1)``; it gives the share of the second color ``(n, H, W)``.
TEXTURES: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    texture.__name__: texture for texture in (border, checker, dipped, dots, halves, plain, rings, stripes)
}

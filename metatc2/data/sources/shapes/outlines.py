"""Twelve outlines as signed distances: below 0 inside, about one unit a unit of length near the border.

None comes upon itself again before a whole turn, so the orientation of every one can be seen. They point up and lie within
about 1 of the origin. Only arithmetic and square roots, which IEEE 754 fixes to the bit, so every machine draws the same.
"""

from __future__ import annotations

import torch
from torch import Tensor

Maximum, Minimum = torch.maximum, torch.minimum


def disc(u: Tensor, v: Tensor, x: float, y: float, radius: float) -> Tensor:
    """Signed distance to a circle round ``(x, y)``."""
    return ((u - x).square() + (v - y).square()).sqrt() - radius


def box(u: Tensor, v: Tensor, x: float, y: float, width: float, height: float) -> Tensor:
    """Signed distance to a rectangle round ``(x, y)``, from half its width and half its height."""
    return Maximum((u - x).abs() - width, (v - y).abs() - height)


def roof(u: Tensor, v: Tensor, top: float, bottom: float, width: float) -> Tensor:
    """Signed distance to an isosceles triangle with its apex at ``(0, top)``; `width` is half that of its base."""
    height = top - bottom
    side = (u.abs() * height + (v - top) * width) / (height * height + width * width) ** 0.5
    return Maximum(side, bottom - v)


def drop(u: Tensor, v: Tensor) -> Tensor:
    """A disc and the two tangents to it from a point above."""
    cone = Maximum(0.879 * u.abs() + 0.477 * (v - 0.98), -0.02 - v)
    return Minimum(disc(u, v, 0.0, -0.32, 0.62), cone)


def heart(u: Tensor, v: Tensor) -> Tensor:
    """Two discs side by side and their tangents to a point below."""
    wide = u.abs()
    wedge = Maximum(0.783 * wide - 0.622 * (v + 0.95), (v + 0.439 * wide - 0.4) / 1.092)
    return Minimum(disc(wide, v, 0.42, 0.35, 0.48), wedge)


def crescent(u: Tensor, v: Tensor) -> Tensor:
    """A disc less another one above."""
    return Maximum(disc(u, v, 0.0, 0.0, 0.95), -disc(u, v, 0.0, 0.5, 0.72))


def triangle(u: Tensor, v: Tensor) -> Tensor:
    """Taller than wide."""
    return roof(u, v, 1.0, -0.75, 0.7)


def dome(u: Tensor, v: Tensor) -> Tensor:
    """Half a disc."""
    return Maximum(disc(u, v, 0.0, -0.42, 0.92), -0.42 - v)


def arrow(u: Tensor, v: Tensor) -> Tensor:
    """A triangle on a shaft."""
    return Minimum(roof(u, v, 0.98, 0.05, 0.78), box(u, v, 0.0, -0.42, 0.29, 0.52))


def tee(u: Tensor, v: Tensor) -> Tensor:
    """The letter T."""
    return Minimum(box(u, v, 0.0, 0.45, 0.72, 0.28), box(u, v, 0.0, -0.32, 0.29, 0.62))


def horseshoe(u: Tensor, v: Tensor) -> Tensor:
    """Half a ring with two legs."""
    ring = Maximum(disc(u, v, 0.0, 0.2, 0.6).abs() - 0.24, 0.2 - v)
    return Minimum(ring, box(u.abs(), v, 0.6, -0.17, 0.24, 0.4))


def cross(u: Tensor, v: Tensor) -> Tensor:
    """Its beam above the middle."""
    return Minimum(box(u, v, 0.0, 0.0, 0.28, 0.96), box(u, v, 0.0, 0.28, 0.76, 0.28))


def ell(u: Tensor, v: Tensor) -> Tensor:
    """The letter L."""
    return Minimum(box(u, v, -0.3, 0.05, 0.29, 0.79), box(u, v, 0.06, -0.46, 0.65, 0.28))


def bite(u: Tensor, v: Tensor) -> Tensor:
    """A disc that lacks a quarter."""
    return Maximum(disc(u, v, 0.0, 0.0, 0.92), (v + 0.1 - u.abs()) / 2**0.5)


def mushroom(u: Tensor, v: Tensor) -> Tensor:
    """Half a disc on a stem."""
    cap = Maximum(disc(u, v, 0.0, 0.0, 0.92), -v)
    return Minimum(cap, box(u, v, 0.0, -0.4, 0.28, 0.5))


OUTLINES = {
    outline.__name__: outline
    for outline in (
        arrow,
        bite,
        crescent,
        cross,
        dome,
        drop,
        ell,
        heart,
        horseshoe,
        mushroom,
        tee,
        triangle,
    )
}

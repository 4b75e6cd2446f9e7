"""`render`: images of one lit object from nine independent factors, in batch, the same to the bit on every machine."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from metatc2.data.sources.shapes.factors import GenerativeFactors, Kind
from metatc2.data.sources.shapes.outlines import OUTLINES
from metatc2.data.sources.shapes.textures import TEXTURES
from metatc2.errors import InputError

# Smallest and largest value, the latter excluded. Size is the object's radius; it, x and y are in halves of the image's side,
# x to the right and y up; the angles and hues are turns. An object never leaves the image.
RANGES: dict[str, tuple[float, float]] = {
    "size": (0.55, 0.76),
    "orientation": (0.0, 1.0),
    "hue": (0.0, 1.0),
    "background": (0.0, 1.0),
    "x": (-0.2, 0.2),
    "y": (-0.2, 0.2),
    "lighting": (0.0, 1.0),
}
LISTS: dict[str, tuple[str, ...]] = {"shape": tuple(OUTLINES), "texture": tuple(TEXTURES)}
FACTORS = ("shape", "texture", *RANGES)
_LINEAR = ("size", "x", "y")
KINDS: tuple[Kind, ...] = tuple(
    "categorical" if name in LISTS else "linear" if name in _LINEAR else "circular" for name in FACTORS
)
_BATCH = 256  # images drawn at once: what one needs stays in the processor's cache
_SLACK = 1e-6  # a bound that went through float32 is still the bound
_BEVEL = 0.4  # radii from the border to where an object is flat
_ELEVATION = 0.6  # sine of the light's height above the image


def draw_factors(count: int, generator: torch.Generator) -> GenerativeFactors:
    """Factors drawn independently of each other: uniform in `RANGES`, even over `LISTS`.

    >>> draw_factors(5, torch.Generator().manual_seed(0)).values.shape
    torch.Size([5, 9])
    """
    chance = torch.rand(count, len(FACTORS), dtype=torch.float64, generator=generator)
    columns = []
    for name, column in zip(FACTORS, chance.unbind(1), strict=True):
        if name in LISTS:
            columns.append((column * len(LISTS[name])).floor())
        else:
            low, high = RANGES[name]
            columns.append(low + (high - low) * column)
    return GenerativeFactors(torch.stack(columns, 1), FACTORS, KINDS)


def render(factors: Tensor, image_size: int) -> Tensor:
    """Draw the images that factors describe; a row depends on its own factors alone.

    A bevelled, textured object lies on a dim ground; the light comes from one side and falls off across the image.

    Args:
        factors: ``(N, 9)`` in the order and the units of `FACTORS`, `RANGES` and positions in `LISTS`.
        image_size: side in pixels, at least 8.

    Returns:
        uint8 ``(N, 3, image_size, image_size)``.

    Raises:
        InputError: if the shape or a value does not fit.

    >>> render(draw_factors(2, torch.Generator().manual_seed(0)).values, 28).shape
    torch.Size([2, 3, 28, 28])
    """
    if factors.ndim != 2 or factors.shape[1] != len(FACTORS):
        raise InputError(
            f"render: factors must be (N, {len(FACTORS)}), one column for each of {', '.join(FACTORS)}; "
            f"got {tuple(factors.shape)}"
        )
    if image_size < 8:
        raise InputError(f"render: image_size must be at least 8, got {image_size}")
    values = dict(zip(FACTORS, factors.detach().cpu().double().unbind(1), strict=True))
    _check(values)
    images = torch.empty(len(factors), 3, image_size, image_size, dtype=torch.uint8)
    for rows in torch.arange(len(factors)).split(_BATCH):
        images[rows] = _draw({name: column[rows] for name, column in values.items()}, image_size)
    return images


def _check(values: dict[str, Tensor]) -> None:
    for name, column in values.items():
        low, high = RANGES.get(name, (0, len(LISTS.get(name, ())) - 1))
        wrong = ~((column >= low - _SLACK) & (column <= high + _SLACK))
        if name in LISTS:
            wrong |= column != column.floor()
        if bool(wrong.any()):
            what = "a whole number" if name in LISTS else "a value"
            raise InputError(
                f"render: {name} must be {what} in {low:g}..{high:g}, got {float(column[wrong][0]):g}; see RANGES and LISTS"
            )


def _by_kind(kinds: Tensor, functions: Sequence[Callable[..., Tensor]], *given: Tensor) -> Tensor:
    """What the function of its kind makes of each row."""
    made = torch.empty_like(given[0])
    for kind in kinds.unique().tolist():
        rows = (kinds == kind).nonzero().flatten()
        made[rows] = functions[int(kind)](*(t[rows] for t in given))
    return made


def _draw(factor: dict[str, Tensor], side: int) -> Tensor:
    """Images, uint8 ``(n, 3, side, side)``."""

    def number(value: Tensor) -> Tensor:
        return value.float()[:, None, None]

    # Sines are taken once an image and in float64: their last bit, which machines round differently, is lost in float32.
    turn, light = 2 * math.pi * factor["orientation"], 2 * math.pi * factor["lighting"]
    cosine, sine, radius = number(turn.cos()), number(turn.sin()), number(factor["size"])
    from_x, from_y = number(light.cos()), number(light.sin())
    middle = (torch.arange(side, dtype=torch.float32) * 2 + 1 - side) / side
    across, up = middle.view(1, 1, side), -middle.view(1, side, 1)
    right, above = (across - number(factor["x"])) / radius, (up - number(factor["y"])) / radius
    u, v = right * cosine + above * sine, above * cosine - right * sine
    pixel = 2 / side / radius
    distance = _by_kind(factor["shape"], tuple(OUTLINES.values()), u, v)

    # A surface that falls toward the border, lit from one side (Lambert's cosine law).
    down, along = torch.gradient(distance, dim=(1, 2))
    fall = (1 + distance / _BEVEL).clamp(0, 1)
    slope = (along * from_x - down * from_y) / pixel
    facing = fall * slope * (1 - _ELEVATION**2) ** 0.5 + (1 - fall.square()).sqrt() * _ELEVATION
    shade = 0.62 + 0.5 * (facing.clamp(0, 1) - _ELEVATION) + 0.18 * (right * from_x + above * from_y) + 0.2
    ground = 1 + 0.45 * (across * from_x + up * from_y)

    mark = _by_kind(factor["texture"], tuple(TEXTURES.values()), u, v, -distance, pixel)[:, None]
    first = _color(factor["hue"], saturation=0.85, value=1.0)
    second = 0.25 * first + 0.75  # toward white
    surface = (first + (second - first) * mark) * shade[:, None]
    behind = _color(factor["background"], saturation=0.65, value=0.38) * ground[:, None]
    covered = (0.5 - distance / pixel).clamp(0, 1)[:, None]
    image: Tensor = behind + (surface - behind) * covered
    return (image.clamp(0, 1) * 255).round().byte()


def _color(hue: Tensor, *, saturation: float, value: float) -> Tensor:
    """RGB of hues in turns, ``(n, 3, 1, 1)`` (HSV)."""
    sector = (hue[:, None] * 6 + torch.tensor([0.0, 4.0, 2.0], dtype=torch.float64)) % 6
    pure = ((sector - 3).abs() - 1).clamp(0, 1)
    return (value * (1 - saturation + saturation * pure)).float()[:, :, None, None]

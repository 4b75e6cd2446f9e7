"""Feature rows: which precision they are computed in, and their directions; the same wherever features are measured."""

from __future__ import annotations

import torch
from torch import Tensor

from metatc2.errors import InputError

# Rows that are in float64 at once.
BLOCK = 4096

# A row so many times as large as the middle one takes that many digits from it.
_UNEVEN = 1000

# Within these, sums of squares neither overflow nor vanish in the precision of the rows, with width and count to spare.
_SAFE = {torch.float32: (2.0**-40, 2.0**50), torch.float64: (2.0**-480, 2.0**480)}


def checked(features: Tensor, what: str, *, least: int = 2) -> Tensor:
    """`features` detached, if they are finite rows.

    Args:
        features: ``(N, d)`` floating point.
        what: name of the figure, for errors.
        least: rows needed.

    Raises:
        InputError: if the shape is another, rows are too few, or a value is NaN or infinite.

    >>> checked(torch.ones(3, 2), "rankme").shape
    torch.Size([3, 2])
    """
    if features.ndim != 2 or features.shape[1] == 0 or not features.is_floating_point():
        raise InputError(
            f"{what}: features must be floating point of shape (N, d), got {features.dtype} {tuple(features.shape)}; "
            "flatten all axes but the first"
        )
    if len(features) < least:
        raise InputError(f"{what}: needs at least {least} rows, got {len(features)}; give features of more images")
    bad = ~features.isfinite().all(1)
    if bad.any():
        raise InputError(
            f"{what}: {int(bad.sum())} of {len(features)} rows are NaN or infinite (first at row {int(bad.nonzero()[0])}); "
            "load an earlier checkpoint of the encoder"
        )
    return features.detach()


def unit_rows(x: Tensor, dim: int = -1) -> Tensor:
    """Vectors of length one along an axis; the zero vector has no direction and stays zero, so all its cosines are 0.

    Exact for every length: huge vectors, whose squares overflow, and denormal ones, which a constant in the denominator
    (that of `torch.nn.functional.normalize`) leaves short. Not for losses: see `metatc2.ops.precision.unit`.

    Args:
        x: floating point; half precision is computed and returned in single precision.
        dim: the axis.

    >>> unit_rows(torch.tensor([[3e30, 0.0], [0.0, -3e-42], [0.0, 0.0]])).tolist()
    [[1.0, 0.0], [0.0, -1.0], [0.0, 0.0]]
    """
    x = x if x.dtype == torch.float64 else x.float()
    largest = x.abs().amax(dim, keepdim=True)
    some = largest > 0
    scaled = x / largest.where(some, torch.ones_like(largest))
    length = torch.linalg.vector_norm(scaled, dim=dim, keepdim=True)
    rows: Tensor = scaled / length.where(some, torch.ones_like(length))
    return rows


def for_computing(*sides: Tensor) -> list[Tensor]:
    """Rows in one precision that sums of their squares fit into: single at least, double where any is or needs it.

    Half precision is never computed in: its squares overflow at 256, and a count stops at 256 or 2 048. Rows in single
    precision that are so large or so small that squares would overflow or vanish are brought to double precision, as are
    rows among which some are a thousand times as long as most: beside these the others would be rounded away.

    Args:
        sides: finite real tensors of any dtype.

    Raises:
        InputError: if values are so large or so small that double precision does not hold their squares either.

    >>> [side.dtype for side in for_computing(torch.ones(2, 2, dtype=torch.float16), torch.ones(2, 2))]
    [torch.float32, torch.float32]
    >>> for_computing(torch.full((2, 2), 1e30))[0].dtype
    torch.float64
    """
    dtype = torch.float64 if any(side.dtype == torch.float64 for side in sides) else torch.float32
    sides = tuple(side.to(dtype) for side in sides)
    largest = max((float(side.abs().max()) for side in sides if side.numel()), default=0.0)
    if dtype == torch.float32 and (not _safe(largest, dtype) or any(map(_uneven, sides))):
        dtype, sides = torch.float64, tuple(side.double() for side in sides)
    if not _safe(largest, dtype):
        raise InputError(
            f"the largest feature is {largest:.2g}, whose square double precision does not hold; divide all features by "
            "one number that brings them near 1"
        )
    return list(sides)


def _safe(largest: float, dtype: torch.dtype) -> bool:
    low, high = _SAFE[dtype]
    return largest == 0 or low <= largest <= high


def _uneven(side: Tensor) -> bool:
    if side.ndim != 2 or not side.numel():
        return False
    sizes = side.abs().amax(1)
    return bool(sizes.max() > _UNEVEN * sizes.median())

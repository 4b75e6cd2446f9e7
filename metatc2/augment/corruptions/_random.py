"""Random numbers of which every image has a stream of its own, so that batches may be cut anywhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def seeds(count: int, generator: torch.Generator) -> list[int]:
    """One seed an image; the first n of them are the same whatever the count.

    >>> a, b = torch.Generator().manual_seed(0), torch.Generator().manual_seed(0)
    >>> seeds(5, a) == seeds(2, b) + seeds(3, b)
    True
    """
    drawn: list[int] = torch.randint(2**62, (count,), generator=generator, device=generator.device).tolist()
    return drawn


def each(seeds: Sequence[int], draw: Callable[[int, torch.Generator], Tensor]) -> Tensor:
    """``draw(i, generator of image i)`` for every image, stacked.

    >>> each([1, 2], lambda i, generator: torch.full((3,), float(i))).tolist()
    [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]
    """
    generator = torch.Generator()
    return torch.stack([draw(i, generator.manual_seed(seed)) for i, seed in enumerate(seeds)])


def normal(seeds: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Standard normal numbers, ``(n, *shape)``."""
    return each(seeds, lambda _, generator: torch.randn(tuple(shape), generator=generator))


def uniform(seeds: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Numbers uniform in [0, 1), ``(n, *shape)``."""
    return each(seeds, lambda _, generator: torch.rand(tuple(shape), generator=generator))

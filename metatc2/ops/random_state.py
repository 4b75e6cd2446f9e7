"""Torch's own random numbers, which initialization and dropout draw: seeded within a block, and as they were afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from metatc2.ops.ranks import Ranks


def own_random_numbers(ranks: Ranks) -> None:
    """From now on a rank other than the first draws torch's own random numbers from a stream of its own.

    All are at the same state before it.
    """
    if ranks.first:
        return
    seed = int(torch.randint(2**62, ()))
    torch.manual_seed(int(torch.randint(2**62, (), generator=torch.Generator().manual_seed(seed + ranks.rank))))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the generators of the CPU and of every CUDA device within the block; restore their states after it.

    >>> before = torch.get_rng_state()
    >>> with seeded(0):
    ...     first = torch.rand(2)
    >>> with seeded(0):
    ...     torch.equal(torch.rand(2), first)
    True
    >>> torch.equal(torch.get_rng_state(), before)
    True
    """
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else []
    with torch.random.fork_rng(list(devices)):
        torch.manual_seed(seed)
        yield

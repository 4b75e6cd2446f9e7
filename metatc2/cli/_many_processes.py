"""A command on several processes: they part at its end, however it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def parting() -> Iterator[None]:
    """Leave the other processes at the end of the block, where it has met any."""
    from metatc2.training.devices import leave

    try:
        yield
    finally:
        leave()

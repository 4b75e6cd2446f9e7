"""Torch's CPU threads: as many as asked for within a block, and as many as before after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def torch_threads(threads: int | None) -> Iterator[None]:
    """Use so many threads within the block; None changes nothing.

    >>> before = torch.get_num_threads()
    >>> with torch_threads(before + 1):
    ...     torch.get_num_threads() == before + 1
    True
    >>> torch.get_num_threads() == before
    True
    """
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        if threads is not None:
            torch.set_num_threads(before)

"""A command on several processes: they part at its end, however it ends."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def parting() -> Iterator[None]:
    """Leave the other processes at the end of the block, where it has met any."""
    from metatc2.training.devices import leave

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces every process and precision
    try:
        yield
    finally:
        leave()

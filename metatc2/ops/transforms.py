"""Whether a transformation of torch.func is at work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

_rehearsed: ContextVar[bool] = ContextVar("_rehearsed", default=False)


def in_transform() -> bool:
    """Whether a torch.func transform such as vmap is running this code; torch has no public way to ask."""
    return bool(torch._C._are_functorch_transforms_active())


@contextmanager
def rehearsal() -> Iterator[None]:
    """What runs inside will run under vmap next: what cannot be seen or kept there is refused here."""
    token = _rehearsed.set(True)
    try:
        yield
    finally:
        _rehearsed.reset(token)


def in_rehearsal() -> bool:
    """Whether `rehearsal` is running this code."""
    return _rehearsed.get()

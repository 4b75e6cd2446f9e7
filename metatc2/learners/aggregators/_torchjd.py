"""torchjd, imported where it is used: it is an optional package."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from torch import Tensor

from metatc2.errors import MissingPackage


def torchjd(kind: str, **arguments: int) -> Callable[[Tensor], Tensor]:
    """An aggregator of torchjd.

    Args:
        kind: its class.
        arguments: of the class.

    Raises:
        MissingPackage: if torchjd, or what it solves with, is not installed.
    """
    try:
        aggregator: Callable[[Tensor], Tensor] = getattr(import_module("torchjd.aggregation"), kind)(**arguments)
    except ImportError as error:
        raise MissingPackage(
            f"gradient surgery by {kind} needs torchjd and its solvers ({error}); run: pip install 'metatc2[surgery]'"
        ) from error
    return aggregator

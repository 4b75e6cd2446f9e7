"""Baselines of fusion by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from metatc2.io import registries
from metatc2.io.registry import Registry

if TYPE_CHECKING:
    from metatc2.transfer.fusion.baselines.base import Baseline

BASELINES: Registry[type[Baseline]] = registries.FUSION_BASELINES
Kind = TypeVar("Kind", bound="type[Baseline]")


def register_baseline(name: str) -> Callable[[Kind], Kind]:
    """Decorator of a class of this kind; all as in `metatc2.transfer.register_protocol`."""
    return BASELINES.register_class(name)

"""Attentions by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from metatc2.io import registries
from metatc2.io.registry import Registry

if TYPE_CHECKING:
    from metatc2.transfer.fusion.attention.base import Attention

ATTENTIONS: Registry[type[Attention]] = registries.ATTENTIONS
Kind = TypeVar("Kind", bound="type[Attention]")


def register_attention(name: str) -> Callable[[Kind], Kind]:
    """Decorator of a class of this kind; all as in `metatc2.transfer.register_protocol`."""
    return ATTENTIONS.register_class(name)

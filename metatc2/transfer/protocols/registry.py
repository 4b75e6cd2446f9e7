"""Protocols by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from metatc2.errors import InputError
from metatc2.io import registries
from metatc2.io.registry import Registry
from metatc2.transfer.protocols.base import Protocol

PROTOCOLS: Registry[type[Protocol]] = registries.PROTOCOLS
Kind = TypeVar("Kind", bound=type[Protocol])


def register_protocol(name: str) -> Callable[[Kind], Kind]:
    """Decorator of a `Protocol` class that can then be run by its name, also from the command line.

    Args:
        name: see `metatc2.io.registry.Registry.register`; becomes the class's `name`.

    Raises:
        InputError: if the name is taken.
    """
    return PROTOCOLS.register_class(name)


def protocol_of(given: str | Protocol) -> Protocol:
    """A protocol, or one by name with its options as they are by default.

    Raises:
        InputError: if it is neither, or the name is unknown.

    >>> protocol_of("knn")
    KNN(ks=(200, 20), temperature=0.1)
    >>> protocol_of("fewshot")
    Traceback (most recent call last):
    metatc2.errors.InputError: unknown protocol 'fewshot'; did you mean 'few-shot'? Known: augmentation, clips, corruption, ...
    """
    if isinstance(given, str):
        return PROTOCOLS[given]()
    if not isinstance(given, Protocol):
        raise InputError(
            f"transfer: a protocol must be a name or an object of a Protocol class, such as FewShot(), got {given!r}"
        )
    return given

"""The protocols by name: each takes a `Subject` and yields what becomes the rows of a result."""

from collections.abc import Mapping

from metatc2.transfer.protocols.base import Measured, Options, Protocol, Subject, target_seed
from metatc2.transfer.protocols.episodes import ADAPTED, LeftOut, episodes, episodes_seed
from metatc2.transfer.protocols.neighbours import neighbours

PROTOCOLS: Mapping[str, Protocol] = {"few-shot": episodes, "knn": neighbours}

__all__ = [
    "ADAPTED",
    "PROTOCOLS",
    "LeftOut",
    "Measured",
    "Options",
    "Protocol",
    "Subject",
    "episodes_seed",
    "target_seed",
]

"""The protocols by name: each takes a `Subject` and yields what becomes the rows of a result."""

from collections.abc import Mapping

from metatc2.transfer.protocols.base import Measured, Options, Protocol, Subject, target_seed
from metatc2.transfer.protocols.episodes import ADAPTED, LeftOut, episodes, episodes_seed
from metatc2.transfer.protocols.filmed import filmed
from metatc2.transfer.protocols.fitted import logistic, sgd
from metatc2.transfer.protocols.neighbours import neighbours
from metatc2.transfer.protocols.ranked import ranked
from metatc2.transfer.protocols.shifted import corrupted, domains
from metatc2.transfer.protocols.tuned import few_labels, few_labels_tuned, tuned

PROTOCOLS: Mapping[str, Protocol] = {
    "few-shot": episodes,
    "knn": neighbours,
    "linear": logistic,
    "linear-sgd": sgd,
    "fine-tune": tuned,
    "semi-supervised": few_labels,
    "semi-supervised-fine-tune": few_labels_tuned,
    "retrieval": ranked,
    "corruption": corrupted,
    "leave-one-domain-out": domains,
    "clips": filmed,
}

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

"""Protocols, one a file: each is an object that is its options, and measures encoders on a target."""

from metatc2.transfer.protocols.augmentation import Augmentation
from metatc2.transfer.protocols.base import Measured, Protocol, Subject, target_seed
from metatc2.transfer.protocols.clips import NearestClip
from metatc2.transfer.protocols.corruption import Corruption
from metatc2.transfer.protocols.few_shot import ADAPTED, FewShot, LeftOut, episodes_seed
from metatc2.transfer.protocols.fine_tune import FineTune
from metatc2.transfer.protocols.knn import KNN
from metatc2.transfer.protocols.leave_one_domain_out import LeaveOneDomainOut
from metatc2.transfer.protocols.linear import Linear
from metatc2.transfer.protocols.linear_sgd import LinearSGD
from metatc2.transfer.protocols.registry import PROTOCOLS, protocol_of, register_protocol
from metatc2.transfer.protocols.retrieval import Retrieval
from metatc2.transfer.protocols.semi_supervised import SemiSupervised
from metatc2.transfer.protocols.semi_supervised_fine_tune import SemiSupervisedFineTune

__all__ = [
    "ADAPTED",
    "KNN",
    "PROTOCOLS",
    "Augmentation",
    "Corruption",
    "FewShot",
    "FineTune",
    "LeaveOneDomainOut",
    "LeftOut",
    "Linear",
    "LinearSGD",
    "Measured",
    "NearestClip",
    "Protocol",
    "Retrieval",
    "SemiSupervised",
    "SemiSupervisedFineTune",
    "Subject",
    "episodes_seed",
    "protocol_of",
    "register_protocol",
    "target_seed",
]

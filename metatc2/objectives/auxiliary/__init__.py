"""Auxiliary losses, one a file: what a representation shall tell of how views were made."""

from metatc2.objectives.auxiliary.augself import AugSelf
from metatc2.objectives.auxiliary.base import Auxiliary
from metatc2.objectives.auxiliary.registry import (
    AUXILIARY,
    AuxiliaryOptions,
    auxiliary_options,
    register_auxiliary,
)
from metatc2.objectives.auxiliary.stl import TransformationAgreement

__all__ = [
    "AUXILIARY",
    "AugSelf",
    "Auxiliary",
    "AuxiliaryOptions",
    "TransformationAgreement",
    "auxiliary_options",
    "register_auxiliary",
]

"""Heads that are told how each view was made, one way to be told a file (CASSLE and its variants)."""

from metatc2.conditioning.views.add import AddCode
from metatc2.conditioning.views.base import ConditionedHead
from metatc2.conditioning.views.concatenate import ConcatenateCode
from metatc2.conditioning.views.descriptor_network import DescriptorNetwork, RunningStandardization
from metatc2.conditioning.views.film import FiLMCode
from metatc2.conditioning.views.hypernetwork import LowRankHypernetwork
from metatc2.conditioning.views.multiply import MultiplyCode
from metatc2.conditioning.views.registry import (
    CONDITIONS,
    ConditionOptions,
    HeadSizes,
    condition_options,
    register_condition,
)

__all__ = [
    "CONDITIONS",
    "AddCode",
    "ConcatenateCode",
    "ConditionOptions",
    "ConditionedHead",
    "DescriptorNetwork",
    "FiLMCode",
    "HeadSizes",
    "LowRankHypernetwork",
    "MultiplyCode",
    "RunningStandardization",
    "condition_options",
    "register_condition",
]

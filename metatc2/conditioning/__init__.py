"""Projectors that are told which kind of task a sample is from: the rivals of those that find it out themselves.

A module here has the class attribute ``told = True`` and is called ``projector(z, identity)`` by `SelfSupervised`, with z
``(tasks, samples, views, d)`` and the episode's `TaskIdentity`. Like all projectors they are dropped after pre-training.
"""

from metatc2.conditioning.base import ToldProjector
from metatc2.conditioning.conditioned import ConditionedProjector
from metatc2.conditioning.fixed_masks import FixedMasks
from metatc2.conditioning.heads import TaskHeads
from metatc2.conditioning.linear_maps import LinearMaps
from metatc2.conditioning.masks import LearnedMasks
from metatc2.conditioning.random_masks import random_masks
from metatc2.conditioning.reader import TrunkAndHeads
from metatc2.conditioning.registry import TOLD, ToldSettings, build_told, register_projector
from metatc2.conditioning.separate_encoders import SeparateEncoders
from metatc2.conditioning.split import split_masks

__all__ = [
    "TOLD",
    "ConditionedProjector",
    "FixedMasks",
    "LearnedMasks",
    "LinearMaps",
    "SeparateEncoders",
    "TaskHeads",
    "ToldProjector",
    "ToldSettings",
    "TrunkAndHeads",
    "build_told",
    "random_masks",
    "register_projector",
    "split_masks",
]

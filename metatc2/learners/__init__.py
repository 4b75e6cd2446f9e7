"""Learners: what to do with an episode. The trainer knows nothing else of a method."""

from metatc2.learners.base import Learner, Outcome, ParameterGroup
from metatc2.learners.look_ahead import LookAheadTC2
from metatc2.learners.self_supervised import SelfSupervised
from metatc2.learners.tc2 import TC2

__all__ = ["TC2", "Learner", "LookAheadTC2", "Outcome", "ParameterGroup", "SelfSupervised"]

"""Learners: what to do with an episode. The trainer knows nothing else of a method."""

from metatc2.learners.anil import ANIL
from metatc2.learners.base import Learner, Outcome, ParameterGroup
from metatc2.learners.boil import BOIL
from metatc2.learners.fomaml import FOMAML
from metatc2.learners.imaml import iMAML
from metatc2.learners.linear_probe import LinearProbe
from metatc2.learners.logistic_head import LogisticHead
from metatc2.learners.maml import MAML
from metatc2.learners.maml_plus_plus import MAMLPlusPlus
from metatc2.learners.matching_net import MatchingNet
from metatc2.learners.meta_learner import LabeledLearner
from metatc2.learners.meta_sgd import MetaSGD
from metatc2.learners.options import Entry, InnerOptions, LearnerArguments, LearnerOptions, Tasks, WithAdjoint
from metatc2.learners.protonet import ProtoNet
from metatc2.learners.r2d2 import R2D2
from metatc2.learners.registry import LEARNERS, build_labeled, entry_of, learner_options, register_learner
from metatc2.learners.reptile import Reptile
from metatc2.learners.self_supervised import SelfSupervised
from metatc2.learners.separate import SeparateLearner
from metatc2.learners.shared_tc2 import SharedTC2
from metatc2.learners.surgery import GradientSurgery
from metatc2.learners.tc2 import TC2
from metatc2.learners.tc2_look_ahead import LookAheadTC2
from metatc2.learners.umm import UMM
from metatc2.learners.uncertainty import UncertaintyWeighting

__all__ = [
    "ANIL",
    "BOIL",
    "FOMAML",
    "LEARNERS",
    "MAML",
    "R2D2",
    "TC2",
    "UMM",
    "Entry",
    "GradientSurgery",
    "InnerOptions",
    "LabeledLearner",
    "Learner",
    "LearnerArguments",
    "LearnerOptions",
    "LinearProbe",
    "LogisticHead",
    "LookAheadTC2",
    "MAMLPlusPlus",
    "MatchingNet",
    "MetaSGD",
    "Outcome",
    "ParameterGroup",
    "ProtoNet",
    "Reptile",
    "SelfSupervised",
    "SeparateLearner",
    "SharedTC2",
    "Tasks",
    "UncertaintyWeighting",
    "WithAdjoint",
    "build_labeled",
    "entry_of",
    "iMAML",
    "learner_options",
    "register_learner",
]

"""Episodes, and the samplers that make them."""

from metatc2.episodes.factor_tasks import LEVELS, FactorTasks
from metatc2.episodes.labelled import LabelledTasks
from metatc2.episodes.sinusoid import SinusoidTasks
from metatc2.episodes.split_batch import Assign, SplitBatch
from metatc2.episodes.types import Episode, FromIterable, Sampler, Samples, TaskIdentity

__all__ = [
    "LEVELS",
    "Assign",
    "Episode",
    "FactorTasks",
    "FromIterable",
    "LabelledTasks",
    "Sampler",
    "Samples",
    "SinusoidTasks",
    "SplitBatch",
    "TaskIdentity",
]

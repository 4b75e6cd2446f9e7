"""Episodes, and the samplers that make them."""

from metatc2.episodes.divided import Divided
from metatc2.episodes.domain_tasks import DomainTasks
from metatc2.episodes.episode import Episode, FromIterable, Sampler, TaskIdentity
from metatc2.episodes.factor_tasks import LEVELS, FactorTasks
from metatc2.episodes.labeled import LabeledTasks
from metatc2.episodes.recipe_tasks import Recipes, RecipeTasks
from metatc2.episodes.samples import Samples
from metatc2.episodes.sinusoid import SinusoidTasks
from metatc2.episodes.split_batch import Assign, SplitBatch

__all__ = [
    "LEVELS",
    "Assign",
    "Divided",
    "DomainTasks",
    "Episode",
    "FactorTasks",
    "FromIterable",
    "LabeledTasks",
    "RecipeTasks",
    "Recipes",
    "Sampler",
    "Samples",
    "SinusoidTasks",
    "SplitBatch",
    "TaskIdentity",
]

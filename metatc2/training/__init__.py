"""The outer loop for any learner and sampler, its checkpoints and its folder."""

from metatc2.training.options import TrainerOptions
from metatc2.training.outer_optimizer import outer_optimizer, without_decay
from metatc2.training.run_folder import RunFolder, State
from metatc2.training.trainer import HealthWarning, Record, Trainer, TrainingDiverged

__all__ = [
    "HealthWarning",
    "Record",
    "RunFolder",
    "State",
    "Trainer",
    "TrainerOptions",
    "TrainingDiverged",
    "outer_optimizer",
    "without_decay",
]

"""The outer loop for any learner and sampler, its checkpoints and its folder."""

from metatc2.training.optimizers import outer_optimizer, without_decay
from metatc2.training.options import TrainerOptions
from metatc2.training.run_folder import RunFolder, State
from metatc2.training.trainer import EpisodicTrainer, HealthWarning, Record, TrainingDiverged

__all__ = [
    "EpisodicTrainer",
    "HealthWarning",
    "Record",
    "RunFolder",
    "State",
    "TrainerOptions",
    "TrainingDiverged",
    "outer_optimizer",
    "without_decay",
]

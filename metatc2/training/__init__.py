"""The outer loop for any learner and sampler, its checkpoints and its folder."""

from metatc2.training.callbacks import Callback
from metatc2.training.failure import Failure, load_failure
from metatc2.training.lars import LARS
from metatc2.training.options import TrainerOptions
from metatc2.training.outer_optimizer import outer_optimizer, without_decay
from metatc2.training.outer_step import TrainingDiverged
from metatc2.training.records import HealthWarning, Record
from metatc2.training.replay import Replayed, replay
from metatc2.training.run_folder import RunFolder, State
from metatc2.training.trainer import Trainer

__all__ = [
    "LARS",
    "Callback",
    "Failure",
    "HealthWarning",
    "Record",
    "Replayed",
    "RunFolder",
    "State",
    "Trainer",
    "TrainerOptions",
    "TrainingDiverged",
    "load_failure",
    "outer_optimizer",
    "replay",
    "without_decay",
]

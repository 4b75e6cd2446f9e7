"""The learner of a run as its last step left it: heads and calibrator included, which the encoder's file has not."""

from __future__ import annotations

from metatc2.errors import InputError
from metatc2.experiment.build import build_learner
from metatc2.experiment.run import Run
from metatc2.learners import SelfSupervised
from metatc2.training.checkpoint import load_checkpoint
from metatc2.training.run_folder import RunFolder


def trained_learner(run: Run) -> SelfSupervised | None:
    """From the run's last checkpoint; None on labeled tasks, or where no checkpoint is left.

    Raises:
        InputError: if the checkpoint does not fit the run's configuration.
    """
    checkpoint = RunFolder(run.path).latest
    if run.config.learner.name != "ssl" or checkpoint is None:
        return None
    learner = build_learner(run.config, run.channels, run.image_size)
    assert isinstance(learner, SelfSupervised)  # what "ssl" builds
    try:
        learner.load_state_dict(load_checkpoint(checkpoint)[1]["learner"])
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise InputError(
            f"{checkpoint} does not fit the learner of {run.path}/config.toml; train the run again"
        ) from error
    return learner

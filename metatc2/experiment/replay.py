"""The step of a run that was not finite, made again on the current code."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from metatc2.episodes import FromIterable
from metatc2.errors import InputError
from metatc2.experiment.build import build_data, build_learner, build_trainer_options
from metatc2.experiment.config import SelfSupervisedConfig
from metatc2.experiment.run import process_state
from metatc2.experiment.run_config import located, read_run_config, sources_from
from metatc2.training import Failure, Replayed, Trainer, load_failure, replay
from metatc2.training.run_folder import RunFolder


@dataclass(frozen=True)
class ReplayedStep:
    """A step of a run and what came of it.

    Args:
        failure: as it was kept.
        replayed: see `metatc2.training.Replayed`.
    """

    failure: Failure
    replayed: Replayed


def run(path: Path, *, anomaly: bool = False) -> ReplayedStep:
    """Make the step again that a run folder keeps. Nothing in the folder changes.

    Args:
        path: run folder, also of a run that goes on elsewhere.
        anomaly: see `metatc2.training.replay`.

    Raises:
        InputError: if nothing is kept there, or the learner of today's code has other parts.
    """
    config = read_run_config(path)
    folder = RunFolder(path)
    failure = load_failure(folder.failure)
    images = failure.episode.query.images
    classes = None
    if not isinstance(config.learner, SelfSupervisedConfig):
        with sources_from(folder, config):
            classes = build_data(located(folder, config)).labels
    with process_state(config):
        learner = build_learner(config, images.shape[-3], images.shape[-1], class_of=classes)
        # The whole episode was kept, also of a run on many devices.
        alone = replace(build_trainer_options(config), devices=1, nodes=1)
        trainer = Trainer(learner, FromIterable([]), alone)
        try:
            return ReplayedStep(failure, replay(trainer, failure, anomaly=anomaly))
        except (RuntimeError, KeyError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"{folder.failure} does not fit the learner that {folder.config} names ({' '.join(str(error).split())[:300]}); "
                "replay it with the version that it was trained with"
            ) from error

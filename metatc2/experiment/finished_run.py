"""A finished run: its folder, what it was trained with, and its encoder."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from metatc2.calibration import Calibrator
from metatc2.errors import InputError
from metatc2.experiment.config import Config, PythonConfig
from metatc2.experiment.pretrained import CalibratedEncoder, Pretrained
from metatc2.experiment.run_config import read_run_config
from metatc2.experiment.transfer_offer import Offer
from metatc2.experiment.weights import encoder_from, read_tensors
from metatc2.learners import LabeledLearner
from metatc2.training.run_folder import RunFolder
from metatc2.transfer import ADAPTED


@dataclass(frozen=True)
class Run:
    """A finished run.

    Args:
        path: run folder.
        config: what it was trained with.
        pretrained: its encoder, and what measuring it takes.
        steps, seconds: training steps and time.
        offer: what can be measured next, where the data were at hand.
    """

    path: Path
    config: Config
    pretrained: Pretrained
    steps: int
    seconds: float
    offer: Offer = field(default_factory=Offer)

    @property
    def encoder(self) -> nn.Module:
        """Images ``(N, channels, image_size, image_size)`` in [0, 1] → ``(N, d)``."""
        return self.pretrained.encoder

    @property
    def calibrator(self) -> Calibrator | None:
        """The one that all tasks share, of TC² where it works on the encoder's output; None otherwise."""
        calibrated = self.pretrained.calibrated
        return calibrated.calibrator if isinstance(calibrated, CalibratedEncoder) else None

    @property
    def learner(self) -> LabeledLearner | None:
        """The whole learner where it adapts to labeled tasks; None for self-supervised ones."""
        learner = self.pretrained.learners.get(ADAPTED)
        return learner if isinstance(learner, LabeledLearner) else None

    @property
    def channels(self) -> int:
        """Of the images the encoder was trained on."""
        return self.pretrained.channels

    @property
    def image_size(self) -> int:
        """Of the images the encoder was trained on, in pixels."""
        return self.pretrained.image_size

    @property
    def encoder_sha256(self) -> str:
        """Checksum of the encoder's tensors, names included."""
        return self.pretrained.sha256


def load_run(path: Path) -> Run:
    """Load the encoder of a finished run.

    Raises:
        InputError: if the folder is not a finished run, or its files do not belong together.
    """
    folder = RunFolder(path)
    folder.require_finished()
    config = read_run_config(path)
    facts = read_tensors(folder.encoder)[1]
    own = isinstance(config.learner, PythonConfig)
    needed = ("channels", "image_size", "steps", "seconds", *(() if own else ("fingerprint",)))
    if missing := [key for key in needed if key not in facts]:
        raise InputError(f"{folder.encoder} was not written by metatc2 pretrain: its header lacks {', '.join(missing)}")
    pretrained = encoder_from(
        config,
        folder.encoder,
        where=folder.config,
        name=str(path),
        calibrator=folder.calibrator,
        learner=folder.learner,
    )
    return Run(path, config, pretrained, int(pretrained.compute["steps"]), pretrained.compute["seconds"])

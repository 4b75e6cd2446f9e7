"""A run that trained on tasks of two images can be diagnosed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from metatc2.diagnostics.task_loss import task_loss
from metatc2.experiment import diagnose as diagnose_command
from metatc2.experiment.run import load_run
from metatc2.experiment.trained_learner import trained_learner

from ..command_line import call


@pytest.mark.filterwarnings("ignore")
def test_tasks_of_two_images_are_diagnosed_on_larger_ones(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 255, (24, 16, 16), dtype=np.uint8)
    np.savez(tmp_path / "few.npz", images=images, labels=np.arange(24) % 3)
    run = str(tmp_path / "run")
    sizes = ["episode.tasks=4", "episode.batch=8", "encoder.width=8", "data.split=all", "data.image_size=16"]
    words = [f"npz:{tmp_path / 'few.npz'}", "--calibration", "none", "--encoder", "conv4", "--steps", "1", "--run", run]
    assert call("pretrain", *words, "--set", *sizes) == 0
    found = load_run(Path(run))
    learner = trained_learner(found)
    assert learner is not None
    episode = diagnose_command._sampler(found, learner, diagnose_command._own(found)).sample()
    assert episode.support.images.shape[:2] == episode.query.images.shape[:2] == (4, 2)
    loss, parameters = task_loss(learner)
    assert torch.isfinite(loss(parameters, episode.support.images[0]))

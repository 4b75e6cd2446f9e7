"""A run that takes no time: a few images of noise, three steps, a checkpoint at each."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

from metatc2.experiment import run as runs
from metatc2.experiment.config import Config, merge, read_task
from metatc2.experiment.transfer import transfer

SETTINGS = {
    "data": {"image_size": 16, "split": "all"},
    "encoder": {"name": "conv4", "width": 8},
    "episode": {"batch": 8, "tasks": 2},
    "calibration": {"factors": 3, "inner_steps": 1, "adapt": "shared"},  # so that its calibrator is read at test time
    "views": {"recipe": "none"},
    "trainer": {"steps": 3, "checkpoint_every": 1, "log_every": 1},
    "transfer": {
        "allow_seen": True,
        "few-shot": {"ways": [2], "shots": [1], "query": 2, "episodes": 3, "heads": ["cosine"]},
    },
}


@pytest.fixture(scope="session")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    file = tmp_path_factory.mktemp("data") / "noise.npz"
    np.savez(file, images=rng.integers(0, 256, (24, 16, 16), dtype=np.uint8), labels=np.arange(24) % 4)
    return file


def configured(noise: Path) -> Config:
    made = merge(merge(read_task(f"npz:{noise}"), SETTINGS, "test"), {"calibration": {"name": "tc2"}}, "test")
    return merge(made, {"transfer": {"targets": [f"npz:{noise}:all"]}}, "test")


@pytest.fixture
def config(noise: Path) -> Config:
    return configured(noise)


@pytest.fixture(scope="session")
def finished(noise: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("finished") / "run"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transfer(runs.pretrain(configured(noise), path))
    return path


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))

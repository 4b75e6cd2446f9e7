"""Global state of the process, seeds and threads, is the caller's again after a call."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from metatc2.errors import InputError
from metatc2.experiment.config import Config, override
from metatc2.experiment.run import pretrain, resume
from metatc2.ops.random_state import seeded
from metatc2.ops.threads import torch_threads


def small(*more: str) -> Config:
    settings = ["data.source=digits", "data.image_size=16", "encoder.width=8", "episode.batch=16", "episode.tasks=2"]
    return override(Config(), [*settings, "trainer.steps=2", *more])


def test_pretraining_leaves_seed_and_threads_as_they_were(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.manual_seed(123)
    before = torch.get_rng_state()
    run = pretrain(small(f"trainer.threads={threads + 1}", "trainer.seed=7"), tmp_path / "run")
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads
    resume(run.path, steps=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


def test_a_refused_run_leaves_them_too(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    before = torch.get_rng_state()
    with pytest.raises(InputError):
        pretrain(small(f"trainer.threads={threads + 1}", "data.split=nothing"), tmp_path / "run")
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


def test_blocks_restore_after_an_error() -> None:
    threads, before = torch.get_num_threads(), torch.get_rng_state()
    with pytest.raises(RuntimeError), torch_threads(threads + 1), seeded(1):
        torch.rand(3).view(7)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), before)

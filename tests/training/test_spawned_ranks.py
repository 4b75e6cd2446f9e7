"""A script of one's own that spawns its processes, each with a learner and a `Trainer` of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ..command_line import PATIENCE

SCRIPT = """
import sys
import torch, torch.distributed as dist, torch.multiprocessing as mp
from torch import nn
from metatc2.augment import Views
from metatc2.data import ImageStore
from metatc2.episodes import SplitBatch
from metatc2.learners import SelfSupervised
from metatc2.objectives import SimCLR
from metatc2.training import Trainer, TrainerOptions

def train(rank, size, folder):
    torch.set_num_threads(1)
    if size > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=size)
    torch.manual_seed(0)
    images = torch.randint(0, 256, (64, 1, 8, 8), dtype=torch.uint8)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 8))
    learner = SelfSupervised(encoder, SimCLR(), projector=nn.Linear(8, 8))
    sampler = SplitBatch(ImageStore("noise", images, torch.zeros(64, dtype=torch.int64)), Views.glyphs(), batch=32, tasks=4)
    Trainer(learner, sampler, TrainerOptions(steps=3, accelerator="cpu", optimizer="sgd", lr=0.1)).fit()
    torch.save(learner.state_dict(), f"{folder}/{size}-{rank}.pt")

if __name__ == "__main__":
    size, folder = int(sys.argv[1]), sys.argv[2]
    mp.spawn(train, (size, folder), nprocs=size)
"""


@pytest.mark.slow
def test_spawned_processes_take_the_steps_of_one(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    for size in (1, 2):
        done = subprocess.run(
            [sys.executable, str(script), str(size), str(tmp_path)],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    alone = torch.load(tmp_path / "1-0.pt", weights_only=True)
    for rank in (0, 1):
        for name, t in torch.load(tmp_path / f"2-{rank}.pt", weights_only=True).items():
            torch.testing.assert_close(t, alone[name], rtol=1e-4, atol=1e-5, msg=lambda m, name=name: f"{name}: {m}")

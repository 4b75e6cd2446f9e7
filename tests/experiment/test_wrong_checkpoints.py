"""Checkpoints with right checksums and states that cannot be meant: one sentence, and the run is as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from metatc2.training.checkpoint import load_checkpoint, save_checkpoint

from ..command_line import call

WRONG: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a moment of another shape": lambda s: s["optimizers"][0]["state"][0].update(exp_avg=torch.zeros(3)),
    "another direction": lambda s: s["optimizers"][0]["param_groups"][0].update(maximize=True),
    "images that are not there": lambda s: s["sampler"].update(order=torch.full_like(s["sampler"]["order"], 10**6)),
    "a position below zero": lambda s: s["sampler"].update(position=-5),
    "random numbers of no generator": lambda s: s["random"].zero_(),
    "time that ran backwards": lambda s: s.update(seconds=-1.0),
}


@pytest.mark.filterwarnings("ignore::metatc2.training.HealthWarning")
@pytest.mark.parametrize("wrong", WRONG)
def test_resumed(wrong: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = run / "checkpoint" / "step-00000003"
    step, state, about = load_checkpoint(checkpoint)
    WRONG[wrong](state)
    (checkpoint / "state.json").unlink()  # or what is there would be taken for the same
    save_checkpoint(run / "checkpoint", step, state, about)
    before = {path: path.is_dir() or path.read_bytes() for path in run.rglob("*")}
    assert call("pretrain", "--resume", str(run), "--steps", "4") == 2
    said = capsys.readouterr().err
    assert said.startswith("metatc2: error: ")
    assert said.count("\n") == 1
    for path, content in before.items():
        if "at-" not in str(path):
            assert path.is_dir() or path.read_bytes() == content, path

"""The defaults that help shows for what a command trains with are those of the configuration."""

from __future__ import annotations

import re

import pytest

from metatc2.experiment.config import Config

from ..command_line import call

CONFIG = Config()
DEFAULTS = {
    "objective": CONFIG.objective.name,
    "calibration": CONFIG.calibration.name,
    "condition": CONFIG.condition.name,
    "learner": CONFIG.learner.name,
    "seed": str(CONFIG.trainer.seed),
    "monitor": CONFIG.monitor.name,
    "precision": CONFIG.trainer.precision,
}


@pytest.mark.parametrize("command", ["pretrain", "config"])
def test_defaults_in_help_are_those_of_the_configuration(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(command, "--help") == 0
    # An option begins a line of its box; what follows it until the next one is about it.
    blocks = re.split(r"\n[^\w\n-]*(?=--?[a-z])", capsys.readouterr().out)
    said = {block.split()[0].removeprefix("--"): " ".join(re.sub(r"[|│]", " ", block).split()) for block in blocks[1:]}
    asked = DEFAULTS.keys() & said.keys()
    assert len(asked) >= 6
    for name in asked:
        assert f"(default: {DEFAULTS[name]})" in said[name]

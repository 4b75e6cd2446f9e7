"""The monitor measures and changes nothing; early stop ends a run that is then finished."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from metatc2.errors import InputError
from metatc2.experiment.config import Config, fingerprint, flatten, merge
from metatc2.experiment.monitor import Measurement, agreement, read_monitor, stage_features
from metatc2.experiment.run import TrainingStopped, load_run, pretrain, resume

from ..command_line import call

pytestmark = pytest.mark.filterwarnings("ignore::metatc2.training.trainer.HealthWarning")
MONITOR = {"monitor": {"name": "coding-rate", "every": 1, "images": 16, "neighbors": 1}}


@pytest.fixture
def monitored(config: Config) -> Config:
    return merge(config, MONITOR, "test")


def test_a_monitored_run_ends_in_the_same_bits(config: Config, monitored: Config, tmp_path: Path) -> None:
    assert fingerprint(monitored) == fingerprint(config)
    assert not any(key.startswith("monitor.") for key in flatten(config))
    one, two = pretrain(config, tmp_path / "plain"), pretrain(monitored, tmp_path / "monitored")
    assert one.encoder_sha256 == two.encoder_sha256
    assert not (one.path / "monitor.jsonl").exists()
    lines = read_monitor(two.path)
    assert [line.step for line in lines] == [0, 1, 2, 3]
    assert all(list(line.rate_reduction) == [f"blocks.{i}" for i in range(4)] for line in lines)
    assert all(line.knn.keys() == line.rate_reduction.keys() for line in lines)
    assert all(0 <= value <= 1 for line in lines for value in line.knn.values())


def test_a_cut_run_has_the_lines_of_one_never_cut(monitored: Config, tmp_path: Path) -> None:
    whole = pretrain(monitored, tmp_path / "whole")
    asked = iter([False, False, True])
    with pytest.raises(TrainingStopped):
        pretrain(monitored, tmp_path / "cut", stop=lambda: next(asked))
    resume(tmp_path / "cut")
    assert read_monitor(tmp_path / "cut") == read_monitor(whole.path)


def test_early_stop_finishes_the_run(monitored: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = iter([9.0, 1.0, 2.0, 1.5, 1.4])

    def falling(self: object, step: int, encoder: nn.Module) -> Measurement:
        return Measurement(step, 0.0, "all", 16, {"last": next(rates)}, {})

    monkeypatch.setattr("metatc2.experiment.monitor.Monitor.measure", falling)
    config = merge(monitored, {"monitor": {"stop_after": 2}, "trainer": {"steps": 9}}, "test")
    assert fingerprint(config) != fingerprint(merge(monitored, {"trainer": {"steps": 9}}, "test"))
    done = pretrain(config, tmp_path / "run")
    assert done.steps == 4  # what was measured before training does not count
    assert load_run(tmp_path / "run").steps == 4
    assert call("pretrain", "--resume", str(tmp_path / "run")) == 0


def test_an_encoder_that_does_not_say_its_stages_has_its_output_measured() -> None:
    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, images):  # type: ignore[no-untyped-def]
            return self.layer(images.flatten(1))

    assert {name: t.shape for name, t in stage_features(Whole(), [torch.rand(2, 1, 2, 2)]).items()} == {
        "output": (2, 3)
    }


def test_reading_and_agreement(tmp_path: Path) -> None:
    (tmp_path / "monitor.jsonl").write_text('{"step": 1}\n')
    with pytest.raises(InputError, match="no measurement"):
        read_monitor(tmp_path)
    assert agreement([]) == {}

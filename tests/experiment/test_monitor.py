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
from metatc2.training.metrics_file import read_metrics
from metatc2.training.run_folder import RunFolder, State

from ..command_line import call

pytestmark = pytest.mark.filterwarnings("ignore::metatc2.training.HealthWarning")
MONITOR = {"monitor": {"name": "coding-rate", "every": 1, "images": 16, "neighbors": 1}}


@pytest.fixture
def monitored(config: Config) -> Config:
    return merge(config, MONITOR, "test")


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_cut_run_has_the_lines_of_one_never_cut(monitored: Config, tmp_path: Path) -> None:
    whole = pretrain(monitored, tmp_path / "whole")
    asked = iter([False, False, True])
    with pytest.raises(TrainingStopped):
        pretrain(monitored, tmp_path / "cut", stop=lambda: next(asked))
    resume(tmp_path / "cut")
    assert read_monitor(tmp_path / "cut") == read_monitor(whole.path)


@pytest.fixture
def falling(monitored: Config, monkeypatch: pytest.MonkeyPatch) -> Config:
    """A run of nine steps that the monitor ends after four: what was measured before training does not count."""
    rates = [9.0, 1.0, 2.0, 1.5, 1.4]

    def measure(self: object, step: int, encoder: nn.Module) -> Measurement:
        return Measurement(step, 0.0, "all", 16, {"last": rates[step]}, {})

    monkeypatch.setattr("metatc2.experiment.monitor.Monitor.measure", measure)
    trainer = {"steps": 9, "log_every": 3, "checkpoint_every": 1}
    return merge(monitored, {"monitor": {"stop_after": 2}, "trainer": trainer}, "test")


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def losses(run: Path) -> dict[int, float]:
    return {record["step"]: record["loss"] for record in read_metrics(run / "metrics.jsonl")}


def test_early_stop_finishes_the_run(monitored: Config, falling: Config, tmp_path: Path) -> None:
    assert fingerprint(falling) != fingerprint(merge(monitored, {"trainer": {"steps": 9}}, "test"))
    done = pretrain(falling, tmp_path / "run")
    assert done.steps == 4
    assert load_run(tmp_path / "run").steps == 4
    assert list(losses(tmp_path / "run")) == [3, 4]  # the last one too
    assert call("pretrain", "--resume", str(tmp_path / "run")) == 0


@pytest.mark.slow
@pytest.mark.parametrize("cut", [2, 3, "written"])
def test_a_run_that_was_cut_is_ended_as_one_never_cut(
    falling: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: int | str
) -> None:
    """Before a step, or after the last checkpoint and before the encoder is written."""
    whole, path = pretrain(falling, tmp_path / "whole"), tmp_path / "cut"
    if cut == "written":
        with monkeypatch.context() as patch:
            patch.setattr("metatc2.experiment.run.write_atomically", interrupted)
            with pytest.raises(KeyboardInterrupt):
                pretrain(falling, path)
        assert RunFolder(path).state is State.CUT
    else:
        asked = iter([False] * cut + [True])
        with pytest.raises(TrainingStopped):
            pretrain(falling, path, stop=lambda: next(asked))
    done = resume(path)
    assert done.encoder_sha256 == whole.encoder_sha256
    assert losses(path) == losses(whole.path)
    assert read_monitor(path) == read_monitor(whole.path)


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

"""Callbacks, validation, loggers and progress: called when they should be, and training is what it is without them."""

from __future__ import annotations

import csv
import io
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from metatc2.errors import InputError, MissingPackage
from metatc2.learners import Outcome
from metatc2.training import Callback, Trainer, TrainerOptions
from metatc2.training.loggers import LOGGERS, build_loggers
from metatc2.training.metrics_file import read_metrics

from .test_outer_optimizers import Noise, Small

# What is trained here is measured by no command.
pytestmark = pytest.mark.filterwarnings("ignore::metatc2.training.own_run.NotForCommands")
OPTIONS = TrainerOptions(steps=6, checkpoint_every=4, log_every=3, epoch_steps=2, validate_every=2)


class Watch(Callback):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def on_start(self, trainer: Trainer) -> None:
        self.told.append(("start", trainer.step))

    def on_step(self, trainer: Trainer, outcome: Outcome) -> None:
        self.told.append(("step", trainer.step))
        if trainer.step == 5:
            trainer.log({"mine": 7})

    def on_epoch(self, trainer: Trainer, epoch: int) -> None:
        self.told.append(("epoch", epoch))

    def on_record(self, trainer: Trainer, record: Mapping[str, float]) -> None:
        self.told.append(("record", record["step"]))

    def on_checkpoint(self, trainer: Trainer, path: Path) -> None:
        assert path.is_dir()
        self.told.append(("checkpoint", trainer.step))

    def on_end(self, trainer: Trainer) -> None:
        self.told.append(("end", trainer.step))

    def state_dict(self) -> dict[str, Any]:
        return {"steps": sum(1 for what, _ in self.told if what == "step")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.told = [("step", -1)] * state["steps"]


def test_times_and_their_order(tmp_path: Path) -> None:
    watch = Watch()
    trainer = Trainer(Small(), Noise(), OPTIONS, run=tmp_path, callbacks=[watch])
    trainer.fit()
    expected = [
        ("start", 0),
        ("step", 1),
        ("step", 2),
        ("epoch", 1),
        ("step", 3),
        ("record", 3),
        ("step", 4),
        ("epoch", 2),
    ]
    expected += [
        ("checkpoint", 4),
        ("step", 5),
        ("record", 5),
        ("step", 6),
        ("epoch", 3),
        ("record", 6),
        ("checkpoint", 6),
    ]
    assert watch.told == [*expected, ("end", 6)]
    assert [record.get("mine") for record in read_metrics(tmp_path / "metrics.jsonl")] == [None, 7.0, None]


def test_they_move_nothing_and_their_state_is_in_the_checkpoint(tmp_path: Path) -> None:
    plain = Trainer(Small(), Noise(), OPTIONS)
    plain.fit()
    watched = Trainer(Small(), Noise(), OPTIONS, run=tmp_path, callbacks=[Watch()], validation=Noise(3))
    watched.fit(until=5)
    watch = Watch()
    again = Trainer(Small(), Noise(9), OPTIONS, run=tmp_path, callbacks=[watch], validation=Noise(3))
    again.resume()
    assert watch.told == [("step", -1)] * 4
    again.fit()
    for name, tensor in plain.learner.state_dict().items():
        assert torch.equal(tensor, again.learner.state_dict()[name]), name


def test_one_may_end_training(tmp_path: Path) -> None:
    class Stop:
        def on_step(self, trainer: Trainer, outcome: Outcome) -> None:
            if trainer.step == 2:
                trainer.end()

    trainer = Trainer(Small(), Noise(), OPTIONS, run=tmp_path, callbacks=[Stop()])
    trainer.fit()
    assert trainer.step == 2
    assert [record["step"] for record in trainer.history] == [2]
    assert (tmp_path / "encoder.safetensors").exists()  # ended, not cut


@pytest.mark.parametrize(("given", "said"), [(Watch, "make an object of it"), (object(), "none of the methods")])
def test_what_is_none_is_refused(given: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Trainer(Small(), Noise(), callbacks=[given])


def test_validation_is_the_loss_of_its_episodes_in_eval_mode() -> None:
    trainer = Trainer(Small(), Noise(), OPTIONS, validation=[Noise(3).sample(), Noise(4).sample()])
    records = trainer.fit()
    assert [record["step"] for record in records] == [2, 3, 4, 6]
    assert [record["step"] for record in records if "val_loss" in record] == [2, 4, 6]
    trainer.learner.eval()
    losses = [float(trainer.learner(Noise(seed).sample()).loss.detach()) for seed in (3, 4)]
    assert records[-1]["val_loss"] == pytest.approx(sum(losses) / 2, rel=1e-5)
    averaged = Trainer(Small(), Noise(), TrainerOptions(steps=6, lr=0.1, ema=0.5), validation=Noise(3))
    last = averaged.fit()[-1]["val_loss"]
    live = Trainer(Small(), Noise(), TrainerOptions(steps=6, lr=0.1), validation=Noise(3)).fit()[-1]["val_loss"]
    assert last != pytest.approx(live, rel=1e-4)
    with pytest.raises(InputError, match="validation must be a sampler, or a list of at least one Episode"):
        Trainer(Small(), Noise(), validation=[])


def test_records_as_comma_separated_values(tmp_path: Path) -> None:
    trainer = Trainer(Small(), Noise(), OPTIONS, run=tmp_path, loggers=["csv"])
    trainer.fit()
    rows = list(csv.DictReader(io.StringIO((tmp_path / "logs/csv/version_0/metrics.csv").read_text())))
    assert [int(row["step"]) for row in rows] == [3, 6]
    assert [float(row["loss"]) for row in rows] == pytest.approx([record["loss"] for record in trainer.history])


def test_records_in_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trainer = Trainer(Small(), Noise(), OPTIONS, run=tmp_path, loggers=["tensorboard"])
    trainer.fit()
    events = EventAccumulator(str(tmp_path / "logs/tensorboard/version_0")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [
        (record["step"], pytest.approx(record["loss"])) for record in trainer.history
    ]


def test_records_in_weights_and_biases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    Trainer(Small(), Noise(), OPTIONS, run=tmp_path, loggers=["wandb"]).fit()
    (file,) = (tmp_path / "logs/wandb").rglob("*.wandb")
    assert file.parent.name.startswith("offline-run-")
    assert b"loss" in file.read_bytes()


class Own:
    """A logger of a user's."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def log_hyperparams(self, params: dict[str, Any]) -> None:
        self.told.append(params["steps"])

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.told.append((step, sorted(metrics)[:1]))

    def save(self) -> None:
        self.told.append("saved")

    def finalize(self, status: str) -> None:
        self.told.append(status)


def test_an_own_logger_is_told_of_settings_records_pauses_and_the_end() -> None:
    own = Own()
    trainer = Trainer(Small(), Noise(), OPTIONS, loggers=[own])
    trainer.fit(until=3)
    trainer.fit()
    assert own.told == [6, (3, ["data_wait"]), "saved", (6, ["data_wait"]), "success"]


@pytest.mark.parametrize(
    ("loggers", "said"),
    [(["csv"], "there is none; pass run=PATH"), ([3], "no log_metrics"), (["cvs"], "did you mean 'csv'")],
)
def test_loggers_that_cannot_be(loggers: list[Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Trainer(Small(), Noise(), loggers=loggers)


@pytest.mark.parametrize("name", [name for name in LOGGERS if name != "csv"])
def test_a_package_that_is_not_installed_is_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("wandb", "tensorboard", "tensorboardX"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr("lightning_fabric.loggers.tensorboard._TENSORBOARD_AVAILABLE", False)
    monkeypatch.setattr("lightning_fabric.loggers.tensorboard._TENSORBOARDX_AVAILABLE", False)
    with pytest.raises(MissingPackage, match=rf"logger '{name}' needs {name}; pip install 'metatc2\[loggers\]'"):
        build_loggers([name], tmp_path)


def test_progress_is_lines_in_a_log_file_and_silent_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    Trainer(Small(), Noise(), OPTIONS).fit()
    assert capsys.readouterr().err == ""
    Trainer(Small(), Noise(), OPTIONS).fit(show=True)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 6
    assert lines[-1].startswith("step 6/6  loss ")
    Trainer(Small(), Noise(), OPTIONS, show=True).fit(show=False)
    assert capsys.readouterr().err == ""


def test_progress_is_live_in_a_notebook(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from metatc2.io.terminal import PlainConsole
    from metatc2.training import progress

    there = PlainConsole(file=io.StringIO())
    there.is_jupyter = True
    monkeypatch.setattr(progress, "console", lambda stderr: there)
    bar = progress.Progress(6, 0, show=None)
    assert bar.live
    assert not progress.Progress(6, 0, show=False).live


@pytest.mark.parametrize(
    ("options", "said"),
    [
        *[
            ({name: 0}, f"{name} must be at least 1")
            for name in ("steps", "devices", "nodes", "accumulate", "log_every")
        ],
        ({"steps": 1.5}, "steps must be a whole number"),
        ({"checkpoint_every": -1}, "checkpoint_every must be at least 0"),
        ({"lr": math.nan}, "lr must be a finite number"),
        ({"lr": -1.0}, "lr must be a finite number above 0"),
        ({"warmup": -5.0}, "warmup must be"),
        ({"clip": -1.0}, "clip must be"),
        ({"weight_decay": math.inf}, "weight_decay must be"),
        ({"precision": "16"}, "unknown precision '16'"),
    ],
)
def test_options_out_of_their_range(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=f"TrainerOptions: {said}"):
        TrainerOptions(**options)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((nn.Linear(2, 2), [], None), r"learner must be a metatc2\.learners\.Learner, got Linear"),
        (("x", [], None), "learner must be"),
        ((Small(), None, None), "sampler must have sample"),
        ((Small(), [], {"steps": 1}), "options must be TrainerOptions, got dict"),
    ],
)
def test_a_trainer_of_other_parts(given: Any, said: str) -> None:
    with pytest.raises(InputError, match=f"Trainer: {said}"):
        Trainer(*given)


@pytest.mark.parametrize("callbacks", [5, "on_step"])
def test_callbacks_are_a_list(callbacks: Any) -> None:
    with pytest.raises(InputError, match="callbacks must be a list of objects"):
        Trainer(Small(), [], callbacks=callbacks)

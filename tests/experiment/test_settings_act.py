"""A setting either changes what is trained or is refused in a sentence: none is accepted and does nothing."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from metatc2.episodes import FactorTasks
from metatc2.errors import InputError
from metatc2.experiment.build import build_learner
from metatc2.experiment.config import Config, all_keys, override
from metatc2.experiment.run import pretrain

from ..command_line import call
from ..covering import covered

SMALL = ["encoder.width=8", "data.source=shapes", "data.image_size=16", "calibration.name=tc2"]
# Another value of each key, and what has to be set besides for it to mean something.
OTHER: dict[str, tuple[str, ...]] = {
    "name": ("tasks",),
    "adapt": ("shared",),
    "factors": ("3",),
    "where": ("projector",),
    "form": ("gate",),
    "factor_network": ("parameter",),
    "weights": ("task",),
    "control": ("shuffle",),
    "standardize": ("true",),
    "blend": ("0.5",),
    "blend_warmup": ("0.5",),
    "inner_steps": ("1",),
    "inner_optimizer": ("adam",),
    "inner_lr": ("0.3",),
    "inner_clip": ("0.001",),
    "gamma": ("0.1", "calibration.sparsity=0.5"),
    "adjoint": ("first-order",),
    "adjoint.last_steps": ("2", "calibration.adjoint=truncated"),
    "variant": ("metacrl",),
    "sparsity": ("0.5",),
    "reconstruction": ("1",),
    "orthogonality": ("0.1",),
    "outer_on": ("query",),
    "statistics": ("episode",),
    "look_ahead": ("true",),
    "look_ahead_lr": ("0.5",),
    "lr": ("0.5",),
    "hidden": ("5",),
    "ema": ("0.5",),
}
# Options of other adjoints are tried in tests/inner.
KEYS = [
    name
    for name, (key, *_) in all_keys().items()
    if name.startswith("calibration.") and key.when.get("calibration.adjoint") in (None, "truncated")
]


@cache
def trained(*settings: str) -> tuple[Any, ...]:
    """What a step is made of: loss, gradients of encoder and calibrator, and learning rates."""
    given = {setting.partition("=")[0]: setting for setting in (*SMALL, *settings)}  # the last one counts
    learner = build_learner(override(Config(), list(given.values())), 3, 16)
    learner.begin_step(1, 10)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():  # off the start, where factors are orthonormal and a penalty of them is nothing
        for parameter in learner.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    episode = FactorTasks("one-more", tasks=2, batch=16, image_size=16).sample()
    loss = learner(episode).loss
    loss.backward()
    size = sum(float(p.grad.square().sum()) for p in learner.parameters() if p.grad is not None)
    return float(loss.detach()), size, [group.lr for group in learner.groups()]


def test_every_key_is_tried() -> None:
    assert sorted(f"calibration.{name}" for name in OTHER) == sorted(KEYS)


@pytest.mark.parametrize(
    ("key", "adapt"), covered([key for key in OTHER if key not in ("adapt", "name")], ("task", "shared"), strength=1)
)
def test_a_setting_of_calibration_acts_or_is_refused(key: str, adapt: str) -> None:
    value, *besides = OTHER[key]
    if (key, adapt) == ("ema", "shared"):
        pytest.skip("acts after the step, on what is used at test time")
    if (key, adapt) == ("look_ahead_lr", "shared"):
        besides = ["calibration.look_ahead=true"]
    if adapt == "shared":
        besides = [*besides, *(["calibration.gamma=0.5"] if key not in ("gamma", "look_ahead_lr") else [])]
        value = {"weights": "task", "standardize": "false", "statistics": "task", "lr": "0.5"}.get(key, value)
    base = [f"calibration.adapt={adapt}", *besides]
    before = trained(*base)
    refused, after = "", before
    try:
        after = trained(*base, f"calibration.{key}={value}")
    except InputError as error:
        refused = str(error)
    assert after != before or f"calibration.{key} is for calibration.adapt = " in refused.replace(
        f" = {value!r}", "", 1
    )


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ("episode.level=same", "episode.level is for episode.tasks_differ_by = 'factor'"),
        ("episode.recipes=one", "episode.recipes is for episode.tasks_differ_by = 'views'"),
        ("episode.kinds=3", "episode.kinds is for episode.tasks_differ_by = 'domain'"),
        ("episode.tasks_differ_by=views episode.assign=cluster", "episode.assign is for"),
        ("episode.tasks_differ_by=views learner.name=protonet", "episode.tasks_differ_by is for self-supervised"),
    ],
)
def test_settings_of_other_tasks_are_told(settings: str, sentence: str) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        override(Config(), ["data.source=digits", *settings.split()])


def test_a_step_is_the_same_twice() -> None:
    torch.manual_seed(5)
    first = trained()
    torch.manual_seed(6)
    assert trained() == first


NAMES = ("none", "standardize", "tasks")
OF_TC2 = [key for key in OTHER if key not in ("name", "where", "factors", "adjoint.last_steps")]


@pytest.mark.parametrize(("name", "key"), covered(NAMES, OF_TC2, strength=1))
def test_settings_of_a_calibration_that_is_not_there_are_told(
    name: str, key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert (
        call(
            "pretrain",
            "shapes",
            "--calibration",
            name,
            "--run",
            str(run),
            "--set",
            f"calibration.{key}={OTHER[key][0]}",
        )
        == 2
    )
    told = " ".join(capsys.readouterr().err.split())
    assert f"calibration.{key} is for calibration.name = 'tc2', and it is '{name}'" in told
    assert f"set calibration.name = 'tc2', or leave calibration.{key} out" in told
    assert not run.exists()


TOLD = ["calibration.name=tasks", "episode.batch=32", "data.source=shapes", "data.image_size=16", "encoder.width=8"]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            "head.told=heads episode.tasks_differ_by=views",
            "head.told = 'heads' tells kinds of task apart, and here there is one (episode.recipes = 'drawn')",
        ),
        (
            "encoder.one_a_kind=true episode.tasks_differ_by=factor episode.level=same",
            "encoder.one_a_kind = true tells kinds of task apart, and here there is one (episode.level = 'same')",
        ),
        ("head.told=film", "head.told = 'film' is told what each task is and needs tasks that differ"),
        ("learner.aggregate=uncertainty", "learner.aggregate = 'uncertainty' is told what each task is"),
    ],
)
def test_controls_with_nothing_to_be_told_are_refused(settings: str, sentence: str) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        build_learner(override(Config(), [*TOLD, *settings.split()]), 3, 16)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ("episode.kinds=2", "episode.kinds is 2, and shapes has 8 domains; set episode.kinds = 8"),
        (
            "head.told=heads",
            "head.told = 'heads' is told the domain of each task; say how many there are: set episode.kinds = 8",
        ),
    ],
)
@pytest.mark.usefixtures("few_shapes")
def test_the_number_of_domains_is_checked_before_anything_is_written(
    settings: str, sentence: str, tmp_path: Path
) -> None:
    domains = "episode.tasks_differ_by=domain trainer.steps=1"
    chosen = override(Config(), [*TOLD, *domains.split(), *settings.split()])
    with pytest.raises(InputError, match=re.escape(sentence)):
        pretrain(chosen, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    pretrain(override(chosen, ["episode.kinds=8"]), tmp_path / "run")  # what the sentence says works

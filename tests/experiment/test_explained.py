"""`metatc2 config`: what a command would train with, as TOML that can be read again, with the origin of every value."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from metatc2.errors import InputError
from metatc2.experiment.command_config import MethodFlags, configured
from metatc2.experiment.config import flatten, read_config, read_task
from metatc2.experiment.config.explain import explained

from ..command_line import call

CASES: dict[str, tuple[MethodFlags, tuple[str, ...]]] = {
    "default": (MethodFlags(), ()),
    "tc2": (
        MethodFlags(calibration="tc2", adjoint="truncated"),
        ("calibration.adjoint.last_steps=2", "trainer.threads=1"),
    ),
    "shared": (MethodFlags(objective="byol", calibration="tc2"), ("calibration.adapt=shared",)),
    "labeled": (MethodFlags(learner="maml", adjoint="evolution"), ("learner.adjoint.samples=3", "episode.way=3")),
    "protonet": (MethodFlags(learner="protonet", calibration="tc2"), ()),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("task", ["glyphs", "shapes"])
def test_it_is_toml_that_reads_as_the_configuration_itself(case: str, task: str, tmp_path: Path) -> None:
    config = configured(task, *CASES[case])
    text = explained(config)
    (tmp_path / "config.toml").write_text(text, encoding="utf-8")
    again = read_config(tmp_path / "config.toml")
    assert flatten(again) == flatten(config)
    assert again == config
    assert not {"head", "objective"} & tomllib.loads(text).keys() or config.learner.name == "ssl"


def test_without_the_names_of_a_method_it_is_a_task_file(tmp_path: Path) -> None:
    named = ("[objective]", "[calibration]", "[regularizer]", "[learner]")
    lines, section = [], ""
    for line in explained(configured("glyphs", *CASES["tc2"])).splitlines():
        section = line if line.startswith("[") else section
        if not (section in named and line.startswith("name = ")):
            lines.append(line)
    (tmp_path / "mine.toml").write_text("\n".join(lines), encoding="utf-8")
    mine = read_task(str(tmp_path / "mine.toml"))
    assert mine.calibration.name == "none"
    assert mine.episode == read_task("glyphs").episode


def test_as_it_is_it_names_a_method_and_one_error_says_all_that_is_to_be_done(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(explained(configured("glyphs", *CASES["default"])), encoding="utf-8")
    with pytest.raises(InputError) as error:
        read_task(str(tmp_path / "mine.toml"))
    assert str(error.value).startswith(
        f"{tmp_path / 'mine.toml'}: objective.name, calibration.name, regularizer.name, learner.name stand in a task file"
    )
    flags = "--objective simclr --calibration none --regularize isotropy --learner ssl"
    assert str(error.value).endswith(f"delete the lines and give {flags} on the command line")


def test_every_value_says_where_it_is_from(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--objective", "byol", "--calibration", "tc2", "--set", "episode.tasks=8", "calibration.gamma=1.0"]
    assert call("config", "glyphs", *words) == 0
    lines = {line.partition("  # ")[0]: line.partition("  # ")[2] for line in capsys.readouterr().out.splitlines()}
    assert lines['source = "glyphs"'].startswith("glyphs.toml: ")
    assert lines["tasks = 8"] == "--set: tasks that a batch is cut into"
    assert lines["gamma = 1.0"].startswith("--set: ")
    assert lines['name = "byol"'].startswith("command line: ")
    assert lines["momentum = 0.99"] == "default: rate of the target network's moving average"
    assert lines["# threads"].startswith("unset: ")


def test_what_a_command_chooses_where_nothing_is_said_has_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("config", "glyphs") == 0
    assert 'name = "isotropy"  # metatc2 pretrain: ' in capsys.readouterr().out


def test_it_refuses_what_pretrain_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("config", "glyphs", "--set", "episode.taskz=8") == 2
    told = capsys.readouterr()
    assert "did you mean 'episode.tasks'?" in " ".join(told.err.split())
    assert not told.out

"""Task files and config.toml: found, read, written, and what is said when one of that fails."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

from metatc2.errors import InputError
from metatc2.experiment.config import (
    Config,
    all_keys,
    differences,
    fingerprint,
    flatten,
    list_tasks,
    override,
    read_config,
    read_task,
    task_files,
    task_folder,
    write_config,
)
from metatc2.experiment.config.choices import LABELED
from metatc2.experiment.config.layers import layer_of

TASKS = ["cifar10", "digits", "folder", "glyphs", "omniglot", "shapes", "stl10"]


def failure(path: Path) -> str:
    with pytest.raises(InputError) as error:
        read_task(str(path))
    assert str(path) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", TASKS)
def test_every_shipped_task_survives_writing_and_reading(name: str, tmp_path: Path) -> None:
    config = read_task(name)
    write_config(config, tmp_path / "config.toml")
    assert read_config(tmp_path / "config.toml") == config
    assert config == read_task(str(task_folder() / f"{name}.toml"))


@pytest.mark.parametrize("name", TASKS)
def test_every_shipped_task_says_what_it_is_and_names_no_method(name: str) -> None:
    text = (task_folder() / f"{name}.toml").read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert not {"objective", "calibration"} & tomllib.loads(text).keys()
    assert 20 < len(dict(list_tasks())[name]) < 100


@pytest.mark.slow
def test_every_key_in_a_task_file_says_what_it_means_to() -> None:
    """Nothing in a file may be lost on the way into the dataclasses: compare with tomllib's own reading."""
    for path in task_folder().glob("*.toml"):
        raw, config = tomllib.loads(path.read_text(encoding="utf-8")), read_task(path.stem)
        assert raw.pop("description") == config.description
        for name, value in layer_of(raw, path.name).values.items():
            # What serves other methods alone acts where they do.
            member = next(key for key in all_keys()[name])
            when = {tag: "protonet" if other == LABELED else other for tag, other in member.when.items()}
            chosen = override(config, [f"{tag}={other}" for tag, other in when.items()])
            got = flatten(chosen)[name]
            assert (list(got) if isinstance(got, tuple) else got) == value


def test_glyphs_and_digits_are_the_tasks_agreed() -> None:
    glyphs, digits = read_task("glyphs"), read_task("digits")
    assert (glyphs.data.source, glyphs.data.image_size) == ("glyphs", 28)
    scripts = {"glyphs:greek", "glyphs:cyrillic", "glyphs:georgian", "glyphs:armenian"}
    assert {target for target in glyphs.transfer.targets if not target.startswith("digits")} == scripts
    assert (digits.data.image_size, digits.data.channels) == (28, 1)
    assert digits.value("transfer.few-shot.ways") == (3,)
    assert digits.transfer.targets == ("digits:meta-test",)


def test_keys_commented_out_in_the_template_are_valid(tmp_path: Path) -> None:
    lines = (task_folder() / "folder.toml").read_text(encoding="utf-8").splitlines()
    opened = [line[2:] if line.startswith("# ") and " = " in line else line for line in lines]
    keys = [line.split(" = ")[0] for line, old in zip(opened, lines, strict=True) if line != old]
    # A value and its explanation share a line there; TOML wants a # between them.
    cleaned = [line if "    " not in line else line.replace("  ", " # ", 1) for line in opened]
    cleaned = [line.replace("] smallest", "] # smallest") for line in cleaned]
    (tmp_path / "mine.toml").write_text("\n".join(cleaned), encoding="utf-8")
    assert len(keys) >= 9
    assert read_task(str(tmp_path / "mine.toml")).views.flip == 0.0


@pytest.mark.parametrize("source", ["folder:my photos/2024", "npz:arrays.npz", "folder:C:\\images", "folder:a\nb"])
def test_bare_sources_take_the_template(source: str) -> None:
    config, template = read_task(source), read_task("folder")
    assert config.data.source == source
    assert config.episode == template.episode
    assert config.views == template.views
    assert len(config.description.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("glpyhs", "unknown task 'glpyhs'; did you mean 'glyphs'?"),
        ("nothing at all", "cifar10, digits, folder, glyphs, omniglot, shapes, stl10"),
        ("folder:", "write folder:PATH"),
        ("npz:", "write npz:PATH"),
        ("absent/my.toml", "absent/my.toml: no such file"),
        ("", "unknown task ''"),
    ],
)
def test_unknown_tasks(name: str, part: str) -> None:
    with pytest.raises(InputError) as error:
        read_task(name)
    assert part in str(error.value)


def test_a_folder_of_images_given_as_a_task_is_understood(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        read_task(str(tmp_path))
    assert f"write folder:{tmp_path}" in str(error.value)


@pytest.mark.parametrize(
    "text",
    ["[objective]\nname = 'byol'", "[calibration]\nname = 'none'", "objective.name = 3", "objective = {name = 'x'}"],
)
def test_a_method_named_in_a_task_file_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text(text)
    said = failure(path)
    assert "a method is never named there" in said
    assert ("--objective" in said) is ("objective" in text)


def test_calibration_settings_may_stand_in_a_task_file(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text("[calibration]\nfactors = 8\n[objective]\ntemperature = 1\n")
    config = override(read_task(str(path)), ["calibration.name=tc2"])
    assert (config.value("calibration.factors"), config.value("objective.temperature")) == (8, 1.0)


@pytest.mark.parametrize("text", ['weights = "linear"\nform = "gate"', 'adapt = "task"\nblend = 0.5'])
def test_settings_of_several_arms_may_stand_in_one_task_file(text: str, tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text(f"[calibration]\n{text}\n")
    task = read_task(str(file))
    assert override(task, ["calibration.name=tc2"]).value("calibration.adapt") == "task"
    assert override(task, ["calibration.name=none"]).value("calibration.name") == "none"


def test_a_setting_of_another_arm_is_checked_too(tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text('[calibration]\nweights = "linear"\nform = "gates"\n')
    with pytest.raises(InputError, match=r"my\.toml: calibration\.form cannot be .gates.; did you mean 'gate'"):
        override(read_task(str(file)), ["calibration.name=tc2"])


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("[episode]\ntasks = 4\nbatch 256\n", 3, "Expected '='"),
        ("[episode]\ntasks = 4\ntasks = 5\n", 3, "Cannot overwrite"),
        ("[episode\n", 1, "Expected ']'"),
        ("[episode]\r\n\r\ntasks = \r\n", 3, "Invalid value"),
        ("[episode]\nassign = 'random\n", 2, ""),
        ('description = """never\nends\n', 2, ""),
        ("[episode]\n[episode]\n", 2, "Cannot declare"),
    ],
)
def test_malformed_toml_names_file_line_and_reason(text: str, line: int, part: str, tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_bytes(text.encode())
    said = failure(path)
    assert said.startswith(f"{path}, line {line}: malformed TOML: ")
    assert part in said
    assert "(at " not in said


def test_errors_in_values_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text("[episode]\ntasks = 3\n")
    assert "episode.batch = 256 cannot be cut into episode.tasks = 3" in failure(path)


def test_files_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_bytes(b"[data]\nsource = '\xff'\n")
    assert "not a text file in UTF-8 (byte 17)" in failure(path)
    folder = tmp_path / "folder.toml"
    folder.mkdir()
    assert "cannot be read" in failure(folder)


def test_a_byte_order_mark_and_windows_lines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_bytes(b"\xef\xbb\xbf[episode]\r\ntasks = 2\r\n")
    assert read_task(str(path)).episode.tasks == 2


def test_config_of_a_run_may_name_its_method_and_lacks_unset_keys(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "run" / "config.toml"
    config = override(read_task("glyphs"), ["objective.name=byol", "calibration.name=tc2"])
    write_config(config, path)
    assert read_config(path) == config
    assert "width" not in path.read_text()
    assert [entry.name for entry in path.parent.iterdir()] == ["config.toml"]
    with pytest.raises(InputError, match="never named"):
        read_task(str(path))


def test_an_adjoint_with_options_is_written_as_a_table(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    config = override(
        Config(), ["calibration.name=tc2", "calibration.adjoint=truncated", "calibration.adjoint.last_steps=2"]
    )
    write_config(config, path)
    assert tomllib.loads(path.read_text())["calibration"]["adjoint"] == {"name": "truncated", "last_steps": 2}
    assert read_config(path) == config
    path.write_text("[calibration.adjoint]\n")
    with pytest.raises(InputError, match=r"calibration\.adjoint must be one of .*, found {}"):
        read_config(path)


def test_config_of_a_run_holds_what_acts_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    write_config(override(read_task("glyphs"), ["learner.name=protonet"]), path)
    tree = tomllib.loads(path.read_text())
    assert not {"head", "objective", "regularizer"} & tree.keys()
    assert tree["episode"].keys().isdisjoint({"tasks", "batch", "support", "assign"})
    assert tree["calibration"] == {"name": "none"}
    assert tree["learner"]["temperature"] == 1.0
    write_config(override(read_task("glyphs"), ["calibration.name=tc2"]), path)
    assert tomllib.loads(path.read_text())["calibration"]["gamma"] == 1.0


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config.toml"
    write_config(Config(), path)

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no space"):
        write_config(override(Config(), ["trainer.seed=1"]), path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["config.toml"]
    assert read_config(path) == Config()


def test_task_folder_of_an_installed_package_and_of_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "metatc2" / "experiment" / "config" / "task_files.py"
    module.parent.mkdir(parents=True)
    monkeypatch.setattr(task_files, "__file__", str(module))
    with pytest.raises(InputError, match="no task files"):
        task_folder()
    for folder in (tmp_path / "tasks", tmp_path / "metatc2" / "_tasks"):
        folder.mkdir()
        (folder / "glyphs.toml").write_text("description = 'x'\n")
        assert task_folder() == folder
    assert list_tasks() == [("glyphs", "x")]


def test_differences_are_sentences() -> None:
    old = override(Config(), ["objective.temperature=0.1"])
    new = override(
        Config(), ["episode.tasks=2", "encoder.width=32", "trainer.log_every=1", "transfer.few-shot.query=3"]
    )
    assert sorted(differences(old, new)) == [
        "encoder.width: unset in the checkpoint, 32 now",
        "episode.tasks: 4 in the checkpoint, 2 now",
        "objective.temperature: 0.1 in the checkpoint, 0.5 now",
    ]
    assert differences(old, old) == []


def test_fingerprint_is_a_sha256_of_what_acts() -> None:
    one = override(Config(), ["objective.temperature=0.3", "trainer.steps=2"])
    two = override(Config(), ["trainer.steps=2", "objective.temperature=0.3"])
    assert one == two
    assert fingerprint(one) == fingerprint(two)
    assert len(fingerprint(one)) == 64
    assert set(fingerprint(one)) <= set("0123456789abcdef")

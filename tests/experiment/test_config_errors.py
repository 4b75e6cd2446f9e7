"""What a user reads when a key, a type, a value or an assignment is wrong, and the defaults that were agreed."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from metatc2.errors import InputError
from metatc2.experiment.config import (
    CalibrationConfig,
    Config,
    EpisodeConfig,
    TransferConfig,
    all_keys,
    merge,
    method_name,
    override,
)

VIEWS = """crop_scale crop_ratio rotation shear flip jitter brightness contrast saturation hue grayscale blur blur_sigma
solarize solarize_threshold invert"""
# The agreed defaults, restated.
DEFAULTS: dict[str, dict[str, Any]] = {
    "data": {
        **{"source": "glyphs", "split": "meta-train", "image_size": None, "channels": None, "root": None},
        **{"stream": False, "workers": 0},
    },
    "episode": {
        **{"tasks": 4, "batch": 256, "support": 0.5, "assign": "random"},
        **{"tasks_differ_by": "nothing", "recipes": "drawn", "level": "one-more", "kinds": None},
        **{"meta_batch": 4, "way": 5, "way_most": None, "shot": 1, "shot_most": None, "query": 15},
        **{"replacement": True, "augment": False},
    },
    "encoder": {"name": "conv4", "width": None, "one_a_kind": False},
    "head": {
        **{"projector_hidden": 256, "projector_out": 128, "told": None, "projector_layers": 2, "predictor_hidden": 128}
    },
    "objective": {"name": "simclr", "options": {}, "momentum": 0.99},
    "calibration": {
        **{"name": "none", "adapt": "task", "factors": None, "where": "backbone", "form": "add"},
        **{"factor_network": "pooled", "weights": None, "control": "none", "standardize": None, "blend": 1.0},
        **{"blend_warmup": 0.1, "inner_steps": 3, "inner_optimizer": "sgd", "inner_lr": None, "inner_clip": None},
        **{"gamma": None, "adjoint": "unroll", "sparsity": None, "reconstruction": 0.0, "orthogonality": 1.0},
        **{"outer_on": "whole", "look_ahead": False, "look_ahead_lr": 0.05, "lr": None, "hidden": None, "ema": 0.99},
        **{"variant": "tc2", "statistics": None, "last_steps": 1},
    },
    "regularizer": {"name": "none", "weight": None},
    "learner": {
        **{"aggregate": None},
        **{"name": "ssl", "inner_optimizer": None, "inner_lr": None, "inner_steps": None, "test_steps": None},
        **{"inner_clip": 0.0, "adjoint": None, "last_steps": 1, "samples": 64, "adapt": (), "freeze": ()},
        **{"norm": "batch", "at_once": 1, "shared_head": False},
    },
    "trainer": {
        **{"steps": 600, "optimizer": "adamw", "lr": 2e-3, "weight_decay": 1e-4, "warmup": 0.05, "clip": 1.0},
        **{"precision": "32-true", "accelerator": "auto", "seed": 0, "checkpoint_every": 200},
        **{"log_every": 10, "threads": None, "lengthened": None},
    },
    "transfer": {
        **{"targets": (), "way": (5,), "shot": (1, 5), "query": 15, "episodes": 600, "protocols": ("few-shot",)},
        **{"heads": ("cosine", "euclidean"), "fractions": (0.01, 0.1), "fine_tune_steps": 5000, "allow_seen": False},
    },
}

# What is unset, as each kind of TC² has it.
SETTLED: dict[str, dict[str, Any]] = {
    "task": {
        **{
            "weights": "linear",
            "standardize": False,
            "inner_lr": 1.0,
            "inner_clip": 0.0,
            "gamma": 1.0,
            "sparsity": 0.0,
        },
        **{"statistics": "task", "lr": 2e-2},
    },
    "shared": {
        **{"weights": "sample", "standardize": True, "inner_lr": 0.1, "inner_clip": 1.0, "gamma": 0.0},
        **{"sparsity": 0.05, "statistics": "episode", "lr": 1e-3},
    },
}


def message(*assignments: str) -> str:
    with pytest.raises(InputError) as error:
        override(Config(), assignments)
    text = str(error.value)
    assert text.startswith("--set: ")
    assert "\n" not in text
    return text


def test_defaults_are_those_agreed() -> None:
    tree = dataclasses.asdict(Config())
    tree["data"].pop("download")
    assert tree["data"].pop("value_range") is None
    assert tree.pop("views") == {"recipe": "glyphs", **dict.fromkeys(VIEWS.split())}
    assert tree == {"description": "", **DEFAULTS}


@pytest.mark.parametrize("adapt", ["task", "shared"])
def test_what_is_unset_is_settled_by_what_adapts(adapt: str) -> None:
    settled = CalibrationConfig(name="tc2", adapt=adapt).settled()  # type: ignore[arg-type]
    assert settled == {**DEFAULTS["calibration"], "name": "tc2", "adapt": adapt, **SETTLED[adapt]}
    given = CalibrationConfig(name="tc2", adapt=adapt, gamma=0.3, standardize=False)  # type: ignore[arg-type]
    assert (given.settled()["gamma"], given.settled()["standardize"]) == (0.3, False)


def test_settings_of_the_shared_calibrator_are_told_where_tasks_adapt() -> None:
    given = {"form": "gate", "factor_network": "fixed", "control": "shuffle", "blend": 0.5, "blend_warmup": 0.0}
    given |= {
        "inner_clip": 1.0,
        "variant": "metacrl",
        "look_ahead": True,
        "look_ahead_lr": 0.1,
        "hidden": 4,
        "ema": 0.9,
    }
    for key, value in given.items():
        CalibrationConfig(name="tc2", adapt="shared", **{key: value}).settled()  # type: ignore[arg-type]
        with pytest.raises(InputError, match=rf"calibration\.{key} belongs to the calibrator.*adapt = 'shared'"):
            CalibrationConfig(name="tc2", **{key: value}).settled()  # type: ignore[arg-type]


def test_former_names_say_what_to_write_now() -> None:
    said = message("calibration.name=decorrelate")
    assert "isotropy is a regularizer of its own now: write --calibration standardize --regularize isotropy" in said
    for text in (message("calibration.isotropy=0.1"), message("calibration.isotropy.x=1")):
        assert "there is no key 'calibration.isotropy" in text
        assert (
            "write regularizer.name = 'isotropy' (--regularize isotropy) and its weight as regularizer.weight" in text
        )
    with pytest.raises(
        InputError, match=r"old/config\.toml: there is no key 'calibration\.isotropy' any more; isotropy is"
    ):
        merge(Config(), {"calibration": {"name": "tc2", "isotropy": 0.03}}, "old/config.toml")


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("epsiode.tasks", "episode.tasks"),
        ("episode.task", "episode.tasks"),
        ("tasks", "episode.tasks"),
        ("calibration.tasks", "episode.tasks"),
        ("trainer.epochs_every", "trainer.log_every"),
        ("calibration.inner_step", "calibration.inner_steps"),
        ("calibration.sparcity", "calibration.sparsity"),
        ("objective.option.temperature", "objective.options"),
        ("objective.temperature", None),
        ("descripton", "description"),
    ],
)
def test_unknown_key_names_the_nearest_of_all_sections(key: str, meant: str | None) -> None:
    text = message(f"{key}=2")
    assert f"unknown key {key!r}" in text
    if meant is None:
        assert "its keys: objective.name, objective.options, objective.momentum" in text
    else:
        assert f"did you mean {meant!r}?" in text


def test_unknown_key_nowhere_near_lists_the_sections() -> None:
    assert (
        "sections: data, episode, views, encoder, head, objective, calibration, regularizer, learner, trainer, transfer"
        in message("zzz=1")
    )


@pytest.mark.parametrize(
    ("tree", "part"),
    [
        ({"epsiode": {"tasks": 4}}, "unknown key 'epsiode.tasks'; did you mean 'episode.tasks'?"),
        ({"tasks": 4}, "unknown key 'tasks'; did you mean 'episode.tasks'?"),
        ({"episode": {"task": 4}}, "unknown key 'episode.task'; did you mean 'episode.tasks'?"),
        ({"episode": 4}, "[episode] is a section, found episode = 4; its keys: episode.tasks"),
        ({"zzz": {}}, "unknown key 'zzz'; sections: data"),
        ({"episode": {"tasks": "4"}}, 'episode.tasks must be a whole number ≥ 1, found "4"'),
        ({"episode": {"tasks": True}}, "episode.tasks must be a whole number ≥ 1, found true"),
        ({"episode": {"tasks": 4.0}}, "episode.tasks must be a whole number ≥ 1, found 4.0"),
        ({"episode": {"tasks": 0}}, "episode.tasks must be a whole number ≥ 1, found 0"),
        ({"episode": {"support": 1}}, "episode.support must be a number > 0 and < 1, found 1.0"),
        ({"trainer": {"clip": True}}, "trainer.clip must be a number ≥ 0, found true"),
        ({"calibration": {"standardize": 1}}, "calibration.standardize must be true or false, found 1"),
        ({"calibration": {"control": "shufle"}}, "calibration.control cannot be \"shufle\"; did you mean 'shuffle'?"),
        ({"data": {"channels": 2}}, "data.channels must be one of 1, 3, found 2"),
        ({"data": {"source": ""}}, 'data.source must be text, found ""'),
        ({"data": {"root": "\udcff"}}, "data.root must be text, found"),
        ({"transfer": {"shot": 5}}, "transfer.shot must be a list, each item a whole number ≥ 1, found 5"),
        ({"transfer": {"shot": [1, 0]}}, "each item of transfer.shot must be a whole number ≥ 1, found 0"),
        ({"views": {"crop_scale": [0.5]}}, "views.crop_scale must be a list of 2, each item a number > 0 and ≤ 1"),
        ({"objective": {"options": {"t": "x"}}}, 'objective.options.t must be a number, found "x"'),
        ({"objective": {"options": 3}}, "objective.options must be a table of names, each a number, found 3"),
        ({"description": 3}, "description must be text, found 3"),
        ({"description": "a\nb"}, "description must be one line"),
    ],
)
def test_messages_name_place_key_value_and_what_is_expected(tree: dict[str, Any], part: str) -> None:
    with pytest.raises(InputError) as error:
        merge(Config(), tree, "my.toml")
    assert str(error.value).startswith("my.toml: ")
    assert part in str(error.value)
    str(error.value).encode()


def test_batch_that_cannot_be_cut_names_both_numbers_and_the_nearest_valid_batch() -> None:
    for tasks in range(1, 13):
        for batch in range(2, 60):
            valid = [b for b in range(2, 200) if b % tasks == 0 and b // tasks >= 2]
            if batch in valid:
                assert EpisodeConfig(tasks=tasks, batch=batch).batch == batch
                continue
            with pytest.raises(InputError) as error:
                EpisodeConfig(tasks=tasks, batch=batch)
            text = str(error.value)
            named = int(text.rsplit(" ", 1)[1])
            assert f"episode.batch = {batch} " in text
            assert f"episode.tasks = {tasks} " in text
            assert named in valid
            assert abs(named - batch) == min(abs(b - batch) for b in valid)


def test_assignments_are_checked_together() -> None:
    assert override(Config(), ["episode.tasks=3", "episode.batch=255"]).episode == EpisodeConfig(3, 255)
    assert override(Config(), ["episode.batch=255", "episode.tasks=3"]).episode == EpisodeConfig(3, 255)
    assert "the nearest valid batch is 255" in message("episode.tasks=3")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("episode.tasks", 'expected key=value, found "episode.tasks"'),
        ("", 'expected key=value, found ""'),
        ("episode=2", "[episode] is a section"),
        ("=2", "unknown key ''"),
        ("episode.tasks=", 'episode.tasks must be a whole number ≥ 1, found ""'),
        ("episode.tasks=four", 'episode.tasks must be a whole number ≥ 1, found "four"'),
        ("episode.tasks.more=2", "unknown key 'episode.tasks.more'"),
        ("episode.tasks=none", 'episode.tasks must be a whole number ≥ 1, found "none"'),
        ("episode.tasks=2\nbatch = 3", "episode.tasks must be a whole number"),
        ("calibration.look_ahead=True", 'calibration.look_ahead must be true or false, found "True"'),
        ("objective.options.temperature=warm", 'objective.options.temperature must be a number, found "warm"'),
        ("transfer.protocols=[knm]", "did you mean 'knn'?"),
    ],
)
def test_assignments_that_cannot_be_read(text: str, part: str) -> None:
    assert part in message(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("data.source=folder:/data/my #1 photos", "folder:/data/my #1 photos"),
        ('data.source="digits"', "digits"),
        ("data.source = digits ", "digits"),
        ("data.root=123", "123"),
        ("data.root=2024-01-01", "2024-01-01"),
        ("data.root=none", None),
        ("data.root='none'", "none"),
        ("data.root=/a=b", "/a=b"),
        ("encoder.width=none", None),
        ("calibration.name=none", "none"),
        ("transfer.targets=[digits, glyphs:greek]", ("digits", "glyphs:greek")),
        ('transfer.targets=["a,b", "c"]', ("a,b", "c")),
        ("transfer.targets=[]", ()),
        ("transfer.shot=[1,5]", (1, 5)),
        ("trainer.clip=0", 0.0),
        ("trainer.lr=1e-3", 0.001),
        ("objective.options={temperature = 0.2}", {"temperature": 0.2}),
    ],
)
def test_values_as_typed_on_a_command_line(text: str, value: Any) -> None:
    section, field = text.partition("=")[0].strip().split(".")
    start = override(Config(), ["data.root=before", "encoder.width=8", "calibration.name=tc2"])
    assert getattr(getattr(override(start, [text]), section), field) == value


def test_options_are_joined_and_the_last_assignment_wins() -> None:
    start = override(Config(), ["objective.options.temperature=0.1", "objective.options.queue=512"])
    again = override(start, ["objective.options.temperature=0.3", "objective.options.temperature=0.2"])
    assert again.objective.options == {"temperature": 0.2, "queue": 512.0}
    assert start.objective.options["temperature"] == 0.1
    mixed = override(Config(), ["objective.options=3", "objective.options.t=1"])
    assert mixed.objective.options == {"t": 1.0}


def test_sections_built_in_python_are_checked_and_made_canonical() -> None:
    section = TransferConfig(way=[5, 20])  # type: ignore[arg-type]
    assert section.way == (5, 20)
    with pytest.raises(InputError, match=r"transfer\.query must be a whole number ≥ 1, found 0"):
        TransferConfig(query=0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        section.query = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("assignments", "name"),
    [
        ([], "simclr"),
        (["objective.name=barlow", "calibration.name=tasks"], "barlow+tasks"),
        (["calibration.name=tc2"], "simclr+tc2"),
        (["calibration.name=tc2", "calibration.adapt=shared"], "simclr+tc2(shared)"),
        (
            ["calibration.name=tc2", "calibration.adapt=shared", "calibration.control=shuffle"],
            "simclr+tc2(shared, shuffle)",
        ),
        (["calibration.name=standardize", "regularizer.name=isotropy"], "simclr+standardize+isotropy"),
        (
            ["calibration.name=tc2", "calibration.adapt=shared", "regularizer.name=isotropy"],
            "simclr+tc2(shared)+isotropy",
        ),
    ],
)
def test_method_name(assignments: list[str], name: str) -> None:
    assert method_name(override(Config(), assignments)) == name


def test_what_a_help_page_prints() -> None:
    assert all_keys()["calibration.hidden"].expected == "a whole number ≥ 1"
    assert all_keys()["calibration.form"].expected == 'one of "blend", "gate", "add"'


@pytest.mark.parametrize(
    ("assignment", "told"),
    [
        (
            "learner.aggregate=sgd",
            'learner.aggregate cannot be "sgd"; known: mean, nash-mtl, pcgrad, uncertainty, upgrad',
        ),
        ("head.told=head", "head.told cannot be \"head\"; did you mean 'heads'?"),
        ("regularizer.name=2", 'regularizer.name cannot be "2"; known: isotropy, none, sigreg, visreg'),
        ("objective.name=simclrs", "objective.name cannot be \"simclrs\"; did you mean 'simclr'?"),
        ("encoder.name=timm:", "encoder.name cannot be \"timm:\"; did you mean 'timm:NAME'?"),
        ("calibration.adjoint=unrol", "calibration.adjoint cannot be \"unrol\"; did you mean 'unroll'?"),
        ("views.recipe=glyph", "views.recipe cannot be \"glyph\"; did you mean 'glyphs'?"),
        ('learner.name=""', 'learner.name must be text, found ""'),
    ],
)
def test_names_are_those_that_are_registered(assignment: str, told: str) -> None:
    with pytest.raises(InputError) as caught:
        override(Config(), [assignment])
    assert str(caught.value).startswith(f"--set: {told}")


def test_registered_names_are_taken() -> None:
    config = override(
        Config(), ["encoder.name=timm:vit_tiny", "learner.aggregate=uncertainty", "regularizer.name=none"]
    )
    assert (config.encoder.name, config.learner.aggregate, config.regularizer.name) == (
        "timm:vit_tiny",
        "uncertainty",
        "none",
    )
    assert override(config, ["learner.aggregate=none"]).learner.aggregate is None

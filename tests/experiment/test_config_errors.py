"""What a user reads when a key, a type, a value or an assignment is wrong, and the defaults that were agreed."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import pydantic
import pytest

from metatc2.errors import InputError
from metatc2.experiment.config import (
    Config,
    SharedTC2Config,
    SplitEpisode,
    TaskTC2Config,
    TransferConfig,
    all_keys,
    flatten,
    merge,
    method_name,
    override,
    read_config,
    settled,
    write_config,
)
from metatc2.inner import Truncated
from metatc2.transfer.protocols.options import protocol_options

# The agreed defaults of a plain run on `glyphs`, restated; what may be unset is not there.
DEFAULTS: dict[str, dict[str, Any]] = {
    "data": {"source": "glyphs", "split": "meta-train", "download": False, "stream": False, "workers": 0},
    "episode": {"tasks_differ_by": "nothing", "tasks": 4, "batch": 256, "support": 0.5, "assign": "random"},
    "views": {
        **{"recipe": "glyphs", "crop_scale": (0.6, 1.0), "crop_ratio": (0.8, 1.25), "rotation": 15.0, "shear": 10.0},
        **dict.fromkeys(("flip", "jitter", "brightness", "contrast", "saturation", "hue", "grayscale"), 0.0),
        **{"blur": 0.2, "blur_sigma": (0.3, 0.8), "solarize": 0.0, "solarize_threshold": 0.5, "invert": 0.2},
    },
    "encoder": {"name": "conv4", "one_a_kind": False},
    "head": {"projector_hidden": 256, "projector_out": 128, "projector_layers": 2, "predictor_hidden": 128},
    "objective": {"name": "simclr", "temperature": 0.5},
    "calibration": {"name": "none", "where": "backbone"},
    "regularizer": {"name": "none"},
    "learner": {"name": "ssl"},
    "trainer": {
        **{"steps": 600, "optimizer": "adamw", "lr": 2e-3, "weight_decay": 1e-4, "warmup": 0.05, "clip": 1.0},
        **{"precision": "32-true", "accelerator": "auto", "seed": 0, "checkpoint_every": 200, "log_every": 10},
    },
    "transfer": {
        **{"targets": (), "protocols": ("few-shot",), "allow_seen": False},
    },
    "transfer.few-shot": {
        **{"ways": (5,), "shots": (1, 5), "query": 15, "episodes": 600, "heads": ("cosine", "euclidean")},
    },
}
TC2: dict[str, Any] = {
    **{"name": "tc2", "where": "backbone", "inner_steps": 3, "inner_optimizer": "sgd", "adjoint": "unroll"},
    **{"orthogonality": 1.0, "outer_on": "whole"},
}
# Defaults of each other member, restated.
MEMBERS: dict[tuple[str, ...], dict[str, dict[str, Any]]] = {
    ("calibration.name=tc2",): {
        "calibration": {
            **TC2,
            **{"adapt": "task", "weights": "linear", "standardize": False, "inner_lr": 1.0, "gamma": 1.0},
            **{"sparsity": 0.0, "reconstruction": 0.0, "statistics": "task", "lr": 2e-2},
        }
    },
    ("calibration.name=tc2", "calibration.adapt=shared"): {
        "calibration": {
            **TC2,
            **{"adapt": "shared", "weights": "sample", "standardize": True, "inner_lr": 0.1, "inner_clip": 1.0},
            **{"gamma": 0.0, "sparsity": 0.05, "statistics": "episode", "lr": 1e-3, "form": "add", "ema": 0.99},
            **{"factor_network": "pooled", "control": "none", "variant": "tc2", "blend": 1.0, "blend_warmup": 0.1},
            **{"look_ahead": False, "look_ahead_lr": 0.05},
        }
    },
    ("calibration.name=tasks",): {"calibration": {"name": "tasks", "where": "backbone"}},
    ("calibration.name=standardize",): {"calibration": {"name": "standardize", "where": "backbone"}},
    ("objective.name=moco",): {
        "objective": {"name": "moco", "queue": 4096, "temperature": 0.2, "momentum": 0.99},
    },
    ("regularizer.name=isotropy",): {"regularizer": {"name": "isotropy", "weight": 0.03}},
    ("episode.tasks_differ_by=factor",): {
        "episode": {"tasks_differ_by": "factor", "tasks": 4, "batch": 256, "support": 0.5, "level": "one-more"}
    },
    ("learner.name=anil", "calibration.name=tc2"): {
        "learner": {
            **{
                "name": "anil",
                "freeze": (),
                "norm": "batch",
                "vmap_chunk": 1,
                "inner_optimizer": "sgd",
                "inner_lr": 0.5,
            },
            **{"inner_steps": 5, "inner_clip": 0.0, "adjoint": "unroll", "shared_head": False},
        },
        "episode": {
            **{"meta_batch": 4, "way": 5, "shot": 1, "query": 15, "replacement": True, "augment": False},
        },
        "calibration": {
            **{"name": "tc2", "adapt": "shared", "inner_steps": 3, "inner_optimizer": "sgd", "inner_lr": 0.1},
            **{"adjoint": "unroll", "standardize": True, "sparsity": 0.05, "orthogonality": 1.0, "form": "add"},
            **{"factor_network": "pooled", "weights": "sample", "control": "none", "inner_clip": 1.0},
            **{"variant": "tc2", "blend": 1.0, "ema": 0.99},
        },
    },
}
LABELED = ("head", "objective", "regularizer")


def message(*assignments: str) -> str:
    with pytest.raises(InputError) as error:
        override(Config(), assignments)
    text = str(error.value)
    assert text.startswith("--set: ")
    assert "\n" not in text
    return text


def flat(tree: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {f"{section}.{key}": value for section, table in tree.items() for key, value in table.items()}


def test_defaults_are_those_agreed() -> None:
    assert flatten(Config()) == flat(DEFAULTS)


@pytest.mark.parametrize("settings", MEMBERS, ids=" ".join)
def test_each_member_has_its_own_keys_and_defaults(settings: tuple[str, ...]) -> None:
    idle = LABELED if any("learner.name" in setting for setting in settings) else ()
    others = {name: table for name, table in DEFAULTS.items() if name not in idle}
    assert flatten(override(Config(), settings)) == flat({**others, **MEMBERS[settings]})


def test_views_that_are_unset_are_those_of_the_recipe() -> None:
    natural = override(Config(), ["views.recipe=natural", "views.flip=0.25"]).views
    assert (natural.flip, natural.jitter, natural.crop_scale) == (0.25, 0.8, (0.2, 1.0))


# Keys that are given where another member acts, and what each belongs to.
IDLE = {
    "calibration.form=gate": "calibration.name = 'tc2', and it is 'none'; set calibration.name",
    "calibration.name=tc2 calibration.form=gate": "calibration.adapt = 'shared', and it is 'task'; set calibration.adapt",
    "calibration.name=tc2 calibration.adapt=shared calibration.reconstruction=1": "calibration.adapt = 'task'",
    "objective.queue=64": "objective.name = 'moco', and it is 'simclr'",
    "objective.momentum=0.9": "objective.name = 'byol' or 'moco', and it is 'simclr'",
    "regularizer.weight=1": "regularizer.name = 'isotropy', 'sigreg' or 'visreg', and it is 'none'",
    "episode.level=same": "episode.tasks_differ_by = 'factor', and it is 'nothing'",
    "episode.tasks_differ_by=views episode.assign=cluster": "episode.tasks_differ_by = 'nothing', and it is 'views'",
    "episode.way=3": "learners on labeled tasks, and learner.name is 'ssl'; name another (--learner)",
    "learner.name=maml episode.tasks=2": "self-supervised objectives, and learner.name is 'maml'",
    "learner.name=maml head.projector_out=3": "self-supervised objectives, and learner.name is 'maml'",
    "learner.name=maml objective.name=byol": "self-supervised objectives, and learner.name is 'maml'",
    "learner.name=protonet learner.inner_lr=1": "'reptile', and it is 'protonet'",
    "learner.name=fomaml learner.adjoint=unroll": "'anil', 'boil', 'maml', 'maml++' or 'meta-sgd', and it is 'fomaml'",
    "learner.name=maml learner.adjoint.samples=3": "learner.adjoint = 'evolution', and it is 'unroll'",
    "transfer.knn.ks=7": "transfer.protocols with 'knn', and it is [\"few-shot\"]; add 'knn' there",
    "calibration.name=tc2 calibration.adjoint.last_steps=3": "calibration.adjoint = 'truncated', and it is 'unroll'",
}


@pytest.mark.parametrize("settings", IDLE)
def test_a_key_that_does_not_act_is_refused_in_a_command_and_left_alone_in_a_file(settings: str) -> None:
    words = settings.split()
    key = words[-1].partition("=")[0]
    said = message(*words)
    assert said.startswith(f"--set: {key} is for ")
    assert IDLE[settings] in said
    assert said.endswith((f"or leave {key} out", "leave one of them out"))
    assert override(Config(), words[:-1] or ["trainer.seed=0"])  # without it the rest is right
    value = words[-1].partition("=")[2]
    given: Any = int(value) if value.isdigit() else float(value) if value[0].isdigit() else value
    for part in reversed(key.split(".")):
        given = {part: [given] if part == "ks" else given}
    shared = merge(Config(), given, "my.toml")
    assert flatten(override(shared, words[:-1])) == flatten(override(Config(), words[:-1]))


def test_what_a_file_holds_for_other_members_acts_once_they_do() -> None:
    tree = {"calibration": {"gamma": 0.3, "form": "gate", "adjoint": {"name": "truncated", "last_steps": 2}}}
    shared = merge(Config(), tree, "my.toml")
    assert shared == Config()
    own = override(shared, ["calibration.name=tc2"]).calibration
    assert isinstance(own, TaskTC2Config)
    assert (own.gamma, own.adjoint.build()) == (0.3, Truncated(2))
    whole = override(shared, ["calibration.name=tc2", "calibration.adapt=shared"]).calibration
    assert isinstance(whole, SharedTC2Config)
    assert (whole.gamma, whole.form) == (0.3, "gate")


@pytest.mark.parametrize(
    ("tree", "part"),
    [
        ({"calibration": {"form": "gat"}}, "calibration.form cannot be \"gat\"; did you mean 'gate'?"),
        ({"episode": {"way": 1}}, "episode.way must be a whole number ≥ 2, found 1"),
        ({"objective": {"queue": "long"}}, 'objective.queue must be a whole number ≥ 1, found "long"'),
        ({"learner": {"inner_lr": 0.0}}, "learner.inner_lr must be a number > 0, found 0.0"),
        (
            {"learner": {"adjoint": {"last_steps": "x"}}},
            'learner.adjoint.last_steps must be a whole number ≥ 0, found "x"',
        ),
        ({"calibration": {"adjoint": "unrol"}}, "calibration.adjoint cannot be \"unrol\"; did you mean 'unroll'?"),
        ({"calibration": {"adjoint": 3}}, 'calibration.adjoint must be one of "evolution", "first-order"'),
        ({"calibration": {"inner_stepz": 3}}, "unknown key 'calibration.inner_stepz'; did you mean"),
        ({"transfer": {"knn": {"ks": [0]}}}, "each item of transfer.knn.ks must be a whole number ≥ 1, found 0"),
        ({"transfer": {"knn": {"ks": []}}}, "[transfer.knn] ks must be at least one number, got none"),
        ({"transfer": {"knn": {"kz": [1]}}}, "unknown key 'transfer.knn.kz'; did you mean 'transfer.knn.ks'?"),
    ],
)
def test_what_does_not_act_is_checked_all_the_same(tree: dict[str, Any], part: str) -> None:
    with pytest.raises(InputError) as error:
        merge(Config(), tree, "my.toml")
    assert str(error.value).startswith(f"my.toml: {part}")


def test_options_of_a_protocol_that_is_not_run_are_there_for_a_later_command(tmp_path: Path) -> None:
    shared = merge(Config(), {"transfer": {"knn": {"ks": [7]}, "few-shot": {"ways": [3]}}}, "my.toml")
    assert list(shared.protocols) == ["few-shot"]
    write_config(shared, tmp_path / "config.toml")
    again = read_config(tmp_path / "config.toml")
    assert flatten(again) == flatten(shared)
    for config in (shared, again):
        assert override(config, ["transfer.protocols=knn"]).value("transfer.knn.ks") == (7,)
    # What a command gave is refused where it does not act, and is no hindrance once it has been checked.
    given = override(Config(), ["transfer.few-shot.ways=3"])
    with pytest.raises(InputError, match=r"--set: transfer\.few-shot\.ways is for transfer\.protocols with 'few-shot'"):
        override(given, ["transfer.protocols=knn"])
    assert list(override(settled(given), ["transfer.protocols=knn"]).protocols) == ["knn"]
    assert settled(given) == given


def test_protocols_in_python_are_those_that_are_to_be_run() -> None:
    knn = protocol_options("knn")(ks=(3,))
    config = Config(transfer=TransferConfig(protocols=("knn", "linear")), protocols={"knn": knn})
    assert list(config.protocols) == ["knn", "linear"]
    assert config.protocols["knn"] is knn
    assert pickle.loads(pickle.dumps(config)) == config
    assert merge(config, {"transfer": {"knn": {"temperature": 0.5}}}, "x").value("transfer.knn.ks") == (3,)
    with pytest.raises(InputError, match="protocols has options of 'knn', and transfer.protocols not"):
        Config(protocols={"knn": knn})
    with pytest.raises(InputError, match=r"\[transfer\.few-shot\] is a KNNOptions"):
        Config(protocols={"few-shot": knn})


def test_a_word_of_another_member_says_whose_it_is() -> None:
    shared = ("calibration.name=tc2", "calibration.adapt=shared")
    for word in ("calibration.weights=linear", "calibration.outer_on=others"):
        key, _, value = word.partition("=")
        said = message(*shared, word)
        assert f"{key} = {value!r} is for calibration.adapt = 'task', and it is 'shared'" in said


def test_a_learner_refuses_a_calibration_of_objectives() -> None:
    said = message("learner.name=protonet", "calibration.name=tasks")
    assert "calibration.name = 'tasks' is for learner.name = 'ssl', and it is 'protonet'; use 'none' or 'tc2'" in said
    assert "calibration.adapt = 'task' is for learner.name = 'ssl'" in message(
        "learner.name=protonet", "calibration.name=tc2", "calibration.adapt=task"
    )


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
    for key in ("calibration.last_steps", "learner.last_steps", "learner.samples"):
        now = f"{key.partition('.')[0]}.adjoint.{key.partition('.')[2]}"
        assert f"there is no key '{key}' any more" in message(f"{key}=2")
        assert message(f"{key}=2").endswith(f"write {now}")
    for given in ("objective.options={temperature=0.2}", "objective.options.temperature=0.2"):
        assert "write objective.temperature = 0.2 in place of objective.options" in message(given)
    own = "options of a protocol stand in its section now: write transfer."
    for former, now in (
        ("way", "few-shot.ways"),
        ("shot", "few-shot.shots"),
        ("query", "few-shot.query"),
        ("episodes", "few-shot.episodes"),
        ("heads", "few-shot.heads"),
        ("fractions", "semi-supervised.fractions, or transfer.semi-supervised-fine-tune.fractions"),
        ("fine_tune_steps", "fine-tune.steps, or transfer.semi-supervised-fine-tune.steps"),
    ):
        assert message(f"transfer.{former}=[3]").endswith(f"there is no key 'transfer.{former}' any more; {own}{now}")
        with pytest.raises(
            InputError, match=re.escape(f"old.toml: there is no key 'transfer.{former}' any more; {own}{now}")
        ):
            merge(Config(), {"transfer": {former: [3]}}, "old.toml")


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
        ("objective.temprature", "objective.temperature"),
        ("objective.zzzzzz", None),
        ("descripton", "description"),
        ("transfer.few-shot.shotz", "transfer.few-shot.shots"),
        ("transfer.fewshot.shots", "transfer.few-shot.shots"),
        ("knn.ks", "transfer.knn.ks"),
        ("transfer.knm.x", "transfer.knn"),
    ],
)
def test_unknown_key_names_the_nearest_of_all_sections(key: str, meant: str | None) -> None:
    text = message(f"{key}=2")
    assert f"unknown key {key!r}" in text
    if meant is None:
        assert "its keys: objective.name, objective.weight, objective.momentum" in text
    else:
        assert f"did you mean {meant!r}?" in text


def test_unknown_key_nowhere_near_lists_the_sections() -> None:
    assert (
        "sections: data, episode, views, encoder, head, objective, condition, auxiliary, calibration, regularizer, learner, "
        "umm, trainer, monitor, transfer" in message("zzz=1")
    )


@pytest.mark.parametrize(
    ("tree", "part"),
    [
        ({"epsiode": {"tasks": 4}}, "unknown key 'epsiode.tasks'; did you mean 'episode.tasks'?"),
        ({"tasks": 4}, "unknown key 'tasks'; did you mean 'episode.tasks'?"),
        ({"episode": {"task": 4}}, "unknown key 'episode.task'; did you mean 'episode.tasks'?"),
        ({"episode": 4}, "[episode] is a section, found episode = 4; its keys: episode.tasks"),
        ({"zzz": {}}, "unknown key 'zzz'; sections: data"),
        (
            {"transfer": {"fewshot": {"shots": [1]}}},
            "unknown key 'transfer.fewshot'; did you mean 'transfer.few-shot'?",
        ),
        (
            {"transfer": {"few-shot": 3}},
            "[transfer.few-shot] is a section, found transfer.few-shot = 3; its keys: transfer.",
        ),
        ({"transfer": {"linear": {"c": 3}}}, "unknown key 'transfer.linear.c'; it has no keys"),
        (
            {"transfer": {"few-shot": {"heads": ["cosin"]}}},
            'no item of transfer.few-shot.heads can be "cosin"; did you',
        ),
        ({"transfer": {"few-shot": {"ways": []}}}, "[transfer.few-shot] ways must be at least one number, got none"),
        ({"episode": {"tasks": "4"}}, 'episode.tasks must be a whole number ≥ 1, found "4"'),
        ({"episode": {"tasks": True}}, "episode.tasks must be a whole number ≥ 1, found true"),
        ({"episode": {"tasks": 4.0}}, "episode.tasks must be a whole number ≥ 1, found 4.0"),
        ({"episode": {"tasks": 0}}, "episode.tasks must be a whole number ≥ 1, found 0"),
        ({"episode": {"support": 1}}, "episode.support must be a number > 0 and < 1, found 1"),
        ({"trainer": {"clip": True}}, "trainer.clip must be a number ≥ 0, found true"),
        ({"calibration": {"name": "tc2", "standardize": 1}}, "calibration.standardize must be true or false, found 1"),
        ({"calibration": {"control": "shufle"}}, "calibration.control cannot be \"shufle\"; did you mean 'shuffle'?"),
        ({"data": {"channels": 0}}, "data.channels must be a whole number ≥ 1 and ≤ 512, found 0"),
        ({"data": {"source": ""}}, 'data.source must be text, found ""'),
        ({"data": {"root": "\udcff"}}, "data.root must be text, found"),
        (
            {"transfer": {"few-shot": {"shots": 5}}},
            "transfer.few-shot.shots must be a list, each item a whole number ≥ 1",
        ),
        (
            {"transfer": {"few-shot": {"shots": [1, 0]}}},
            "each item of transfer.few-shot.shots must be a whole number ≥ 1",
        ),
        ({"views": {"crop_scale": [0.5]}}, "views.crop_scale must be a list of 2, each item a number > 0 and ≤ 1"),
        ({"objective": {"temperature": "x"}}, 'objective.temperature must be a number > 0, found "x"'),
        ({"objective": {"temperature": {"t": 1}}}, 'objective.temperature must be a number > 0, found {"t": 1}'),
        ({"objective": {"name": 3}}, "objective.name must be one of"),
        ({"data": {"channels": True}}, "data.channels must be a whole number ≥ 1 and ≤ 512, found true"),
        ({"data": {"root": "a\0b"}}, "data.root must be text, found"),
        ({"data": {"root": "a" * 5000}}, "data.root can have at most 4096 characters, found 5000"),
        (
            {"transfer": {"few-shot": {"shots": [1] * 2000}}},
            "transfer.few-shot.shots can have at most 1024 items, found 2000",
        ),
        ({"trainer": {"steps": 10**12}}, "trainer.steps can be at most 1000000000, found 1000000000000"),
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
                assert SplitEpisode(tasks=tasks, batch=batch).batch == batch
                continue
            with pytest.raises(InputError) as error:
                SplitEpisode(tasks=tasks, batch=batch)
            text = str(error.value)
            named = int(text.rsplit(" ", 1)[1])
            assert f"episode.batch = {batch} " in text
            assert f"episode.tasks = {tasks} " in text
            assert named in valid
            assert abs(named - batch) == min(abs(b - batch) for b in valid)


def test_assignments_are_checked_together() -> None:
    assert override(Config(), ["episode.tasks=3", "episode.batch=255"]).episode == SplitEpisode(tasks=3, batch=255)
    assert override(Config(), ["episode.batch=255", "episode.tasks=3"]).episode == SplitEpisode(tasks=3, batch=255)
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
        ("encoder.one_a_kind=True", 'encoder.one_a_kind must be true or false, found "True"'),
        ("objective.temperature=warm", 'objective.temperature must be a number > 0, found "warm"'),
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
        ("transfer.few-shot.shots=[1,5]", (1, 5)),
        ("transfer.few-shot.shots=1,5", (1, 5)),
        ("transfer.few-shot.heads=ridge", ("ridge",)),
        ("transfer.targets=digits, glyphs", ("digits", "glyphs")),
        ("data.value_range=0, 4095", (0.0, 4095.0)),
        ("data.value_range=none", None),
        ("trainer.clip=0", 0.0),
        ("trainer.lr=1e-3", 0.001),
        ("objective.temperature=0.2", 0.2),
    ],
)
def test_values_as_typed_on_a_command_line(text: str, value: Any) -> None:
    start = override(Config(), ["data.root=before", "encoder.width=8", "calibration.name=tc2"])
    assert override(start, [text]).value(text.partition("=")[0].strip()) == value


def test_the_last_assignment_wins() -> None:
    start = override(Config(), ["objective.temperature=0.1"])
    again = override(start, ["objective.temperature=0.3", "objective.temperature=0.2"])
    assert (start.value("objective.temperature"), again.value("objective.temperature")) == (0.1, 0.2)


def test_sections_built_in_python_are_checked_and_made_canonical() -> None:
    section = TransferConfig(targets=["digits"])  # type: ignore[arg-type]
    assert section.targets == ("digits",)
    with pytest.raises(InputError, match=r"transfer\.allow_seen must be true or false, found 0"):
        TransferConfig(allow_seen=0)  # type: ignore[arg-type]
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        section.allow_seen = True  # type: ignore[misc]


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
    assert all_keys()["calibration.hidden"][0].expected == "a whole number ≥ 1"
    assert all_keys()["calibration.form"][0].expected == 'one of "blend", "gate", "add"'
    assert all_keys()["calibration.adjoint"][0].expected.startswith('one of "evolution", "first-order"')


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
        (
            "calibration.adjoint=unrol calibration.name=tc2",
            "calibration.adjoint cannot be \"unrol\"; did you mean 'unroll'?",
        ),
        ("views.recipe=glyph", "views.recipe cannot be \"glyph\"; did you mean 'glyphs'?"),
        ('learner.name=""', 'learner.name must be text, found ""'),
    ],
)
def test_names_are_those_that_are_registered(assignment: str, told: str) -> None:
    with pytest.raises(InputError) as caught:
        override(Config(), assignment.split())
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

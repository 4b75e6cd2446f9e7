"""Advice on a folder: what is refused and shared, what is chosen by, what a cut leaves, and what the sentence may claim."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from metatc2.data import ImageStore, load
from metatc2.errors import InputError
from metatc2.experiment import advise
from metatc2.experiment.advice import budget
from metatc2.experiment.advice.arms import METHODS, PIXELS, RANDOM, SCRATCH, Arm, Kind
from metatc2.experiment.advice.budget import LEAST_SCRATCH, Budget, derive
from metatc2.experiment.advice.measure import AdviceCell, predict
from metatc2.experiment.advice.parts import cut
from metatc2.experiment.advice.plan import Plan, require_same
from metatc2.experiment.advice.progress import AdviceProgress
from metatc2.experiment.advice.rule import MeasuredArm, rows_and_verdicts, spread
from metatc2.experiment.advice.settings import Asked, base_config, fitted, run_config, task_of
from metatc2.experiment.advice.typed import pretrain_command
from metatc2.experiment.build import build_data
from metatc2.experiment.config import Config, fingerprint, override, read_task
from metatc2.experiment.pretrained import Pretrained
from metatc2.experiment.run import TrainingStopped, load_run
from metatc2.metrics.intervals import mean_interval

from ..command_line import call

SMALL = ("encoder.width=8", "data.image_size=16", "episode.batch=16", "episode.tasks=2")
QUICK = {"steps": 1, "seeds": 2, "draws": 1, "methods": ["simclr"], "assignments": SMALL, "labels_per_class": [1, 2]}


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Four classes of twelve small pictures, told by their color and a little noise."""
    folder = tmp_path_factory.mktemp("data") / "photos"
    rng = np.random.default_rng(0)
    for label in range(4):
        (folder / f"class{label}").mkdir(parents=True)
        for i in range(12):
            pixels = rng.integers(0, 60, (16, 16, 3)) + np.array([60 * label, 180 - 60 * label, 90])
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"class{label}" / f"{i}.png")
    return f"folder:{folder}"


@pytest.fixture(scope="session")
def done(photos: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("advice") / "of photos"
    advise(photos, path, **QUICK)
    return path


def refused(what: Callable[[], object]) -> str:
    with pytest.raises(InputError) as error:
        what()
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"minutes": 3, "steps": 3}, "both say how long to train"),
        ({"methods": ["simclear"]}, "unknown method 'simclear'; did you mean 'simclr'"),
        ({"encoders": ["a", "a"]}, "a is named twice"),
        ({"assignments": ["objective.name=byol"]}, "objective.name is what the arms differ by"),
        (
            {"assignments": ["trainer.steps=9"]},
            "trainer.steps is what the arms differ by, or what advice decides itself",
        ),
        ({"labels_per_class": [0]}, "labels per class"),
        ({"labels_per_class": [1, 9]}, "has 8 training images and 9 labels a class were asked for"),
        ({"seeds": 1}, "intervals are over seeds"),
        ({"minutes": 0.0}, "minutes"),
        ({"encoders": ["no such run"]}, "no such run"),
    ],
)
def test_refused_before_training(photos: str, tmp_path: Path, options: dict[str, object], sentence: str) -> None:
    folder = tmp_path / "advice"
    given = {**({} if "minutes" in options else {"steps": 1}), **options}
    assert sentence in refused(lambda: advise(photos, folder, **given))  # type: ignore[arg-type]
    assert not folder.exists() or not list(folder.iterdir())


def test_folders_that_cannot_answer_are_refused(tmp_path: Path, photos: str) -> None:
    assert "no image in a sub-folder" in refused(lambda: advise(f"folder:{tmp_path}", tmp_path / "a"))
    one = tmp_path / "one"
    (one / "class0").mkdir(parents=True)
    Image.new("RGB", (16, 16)).save(one / "class0" / "0.png")
    assert "one class, 'class0'" in refused(lambda: advise(f"folder:{one}", tmp_path / "a"))
    (one / "class1").mkdir()
    Image.new("RGB", (16, 16)).save(one / "class1" / "0.png")
    assert "has 1 images and needs 3" in refused(lambda: advise(f"folder:{one}", tmp_path / "a"))
    assert "holds one, which is not of advice" in refused(lambda: advise(photos, tmp_path))
    np.savez(tmp_path / "f.npz", features=np.ones((90, 4), dtype=np.float32), labels=np.arange(90) % 3)
    given = [f"features:{tmp_path / 'f.npz'}"]
    said = refused(lambda: advise(photos, tmp_path / "new" / "a", steps=1, encoders=given))
    assert "precomputed features are measured on the rows of their own archive" in said
    assert not (tmp_path / "new").exists()


def test_weights_that_may_have_seen_the_test_images_start_nothing(done: Path, photos: str, tmp_path: Path) -> None:
    words = {**QUICK, "assignments": (*SMALL, f"encoder.weights={done / 'simclr-s0'}")}
    said = refused(lambda: advise(photos, tmp_path / "new", **words))
    assert "so it may have seen the test images; start from weights of other images" in said
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_advice_that_was_not_begun_leaves_no_folder(photos: str, tmp_path: Path) -> None:
    said = refused(lambda: advise(photos, tmp_path / "new" / "a", minutes=1e-6, methods=["simclr"]))
    assert "fewer than 20 say nothing" in said
    assert not (tmp_path / "new").exists()


def test_what_is_found(done: Path, photos: str) -> None:
    found = json.loads((done / "advice.json").read_text())
    assert found["source"] == photos
    assert [row["arm"] for row in found["rows"][:4]] == [
        "raw pixels", "a random encoder", "training from scratch", "SimCLR",
    ]  # fmt: skip
    assert [verdict["labels_per_class"] for verdict in found["verdicts"]] == [1, 2]
    assert found["sentence"].startswith("With 1 label a class: ")
    assert found["parts"]["training"] == 32
    pixels = next(row for row in found["rows"] if row["arm"] == "raw pixels")
    assert pixels["accuracy"] > 0.9  # colors tell these classes
    assert pixels["over_pixels"] == 0
    assert all(len(row["by_seed"]) == 2 for row in found["rows"])


def test_pre_training_sees_the_training_part_alone(done: Path, photos: str) -> None:
    run = load_run(done / "simclr-s0")
    store = build_data(run.config)
    parts = cut(store, Asked.checked(photos, steps=1))
    assert store.rows(run.config.data.split).tolist() == parts.training.tolist()
    assert not set(parts.training.tolist()) & {*parts.validation.tolist(), *parts.test.tolist()}


def test_finished_advice_is_read_and_not_made_again(done: Path, photos: str) -> None:
    before = (done / "simclr-s1" / "encoder.safetensors").stat().st_mtime_ns
    (done / "measured" / "raw-pixels-s0-1.json").write_text(
        json.dumps({"validation": 0.5, "right": [0] * 8, "draws": 1})
    )
    again = advise(photos, done, **QUICK)
    assert again.rows[0].by_seed[0] == 0  # the cell that was there
    (done / "measured" / "raw-pixels-s0-1.json").unlink()
    assert advise(photos, done, **QUICK).rows[0].by_seed[0] > 0.9
    assert (done / "simclr-s1" / "encoder.safetensors").stat().st_mtime_ns == before
    assert "draws 1 and now 2" in refused(lambda: advise(photos, done, **{**QUICK, "draws": 2}))


class Brightness(nn.Module):
    """An encoder trained elsewhere, as far as advice can tell; it counts the images that it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.images = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.images += len(images)
        return images.mean((2, 3))


def test_an_encoder_that_is_named_later_is_measured_alone(
    done: Path, photos: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {name: Pretrained(name, Brightness(), 3, 16, source=name) for name in ("a", "b")}

    def loaded(name: str, download: bool) -> Pretrained:
        if name not in given:
            raise InputError(f"{name} does not exist")
        return given[name]

    monkeypatch.setattr("metatc2.experiment.advice.given.load_pretrained", loaded)
    path = Path(shutil.copytree(done, tmp_path / "advice"))
    before = {file: file.stat().st_mtime_ns for file in path.rglob("*") if file.suffix in (".safetensors", ".json")}
    first = advise(photos, path, **QUICK)
    more = advise(photos, path, **QUICK, encoders=["a"])
    assert [row for row in more.rows if row.arm != "a"] == list(first.rows)
    assert {row.arm for row in more.rows} - {row.arm for row in first.rows} == {"a"}
    # What was pre-trained here is still answered for, and how it goes on.
    assert (more.next_step, more.pretrain) == (first.next_step, first.pretrain)
    assert first.next_step
    made = sorted(file.name[-9:] for file in (path / "measured").glob("given-*.json"))
    assert made == ["s0-1.json", "s0-2.json", "s1-1.json", "s1-2.json"]
    kept = [file for file in before if file.name not in ("plan.json", "advice.json")]
    assert kept
    assert all(file.stat().st_mtime_ns == before[file] for file in kept)
    # A second one stands beside the first, whose measurements are read: no image goes through it again.
    seen = given["a"].encoder.images
    told: list[AdviceProgress] = []
    both = advise(photos, path, **QUICK, encoders=["b"], tell=told.append)
    assert [row.arm for row in both.rows if row.labels_per_class == 1][-2:] == ["a", "b"]
    assert given["a"].encoder.images == seen
    assert (told[0].what, told[0].done, told[0].jobs) == ("reading images and timing steps", 0, 2 * (3 + 1 + 2))
    assert {progress.jobs for progress in told} == {12}
    # What is left is the new one's work and no more, known before its first job; afterwards nothing.
    pixels = next(progress for progress in told if progress.what == "raw pixels, seed 0")
    assert pixels.left is not None
    assert 1e-6 < pixels.left < 60
    assert told[-1].left == 0
    # One can be left out, e.g. since its file is gone, and come back with what was measured of it; under other weights anew.
    gone = given.pop("a")
    assert "and --without a leaves it out" in refused(lambda: advise(photos, path, **QUICK))
    assert {row.arm for row in advise(photos, path, **QUICK, without=["a"]).rows} & {"a", "b"} == {"b"}
    assert "compares no encoder 'a'; known: b" in refused(lambda: advise(photos, path, **QUICK, without=["a"]))
    given["a"] = gone
    assert {row.arm for row in advise(photos, path, **QUICK, encoders=["a"]).rows} >= {"a", "b"}
    assert given["a"].encoder.images == seen
    given["a"] = Pretrained("a", nn.Sequential(Brightness(), nn.Linear(3, 2)).eval(), 3, 16, source="a")
    assert "leave it out (--without a)" in refused(lambda: advise(photos, path, **QUICK))
    advise(photos, path, **QUICK, without=["a"], encoders=["a"])
    assert len(list((path / "measured").glob("given-*.json"))) == 3 * 4
    # Another option is another advice, which is said before an image is read.
    monkeypatch.setattr("metatc2.experiment.advice.advise.build_data", lambda config: pytest.fail("images were read"))
    assert "draws 1 and now 2" in refused(lambda: advise(photos, path, **{**QUICK, "draws": 2}, encoders=["a"]))


def test_changed_images_and_encoders_are_refused(tmp_path: Path) -> None:
    """Those that are in the plan: one that is new to it is the first of its name."""
    asked = Asked.checked("digits", steps=1, encoders=["a"])
    plan = Plan(asked.to_json(), "1", {"a": "2"}, Budget({}, {}, 1, 0.0))
    require_same(plan, asked, "1", {"a": "2", "b": "3"}, tmp_path)
    said = refused(lambda: require_same(plan, asked, "0", {"a": "2", "b": "3"}, tmp_path))
    assert said.startswith(f"the images of digits have changed since {tmp_path} was begun")
    said = refused(lambda: require_same(plan, asked, "1", {"a": "0", "b": "3"}, tmp_path))
    assert said.startswith(f"a has changed since {tmp_path} was begun")


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("source", ["digits", "glyphs:greek", "folder:my photos", "CIFAR10"])
def test_the_command_that_is_typed_makes_the_arm(source: str, name: str) -> None:
    """Its words are read by the parser of the command line, and lead to the configuration of the run."""
    given = ["data.image_size=64", "trainer.lr=0.01", "data.root=a b", "data.download=true"]
    asked = Asked.checked(source, steps=7, assignments=given)
    config = fitted(base_config(asked), 500, asked)
    wanted = run_config(config, METHODS[name], 0, 7)
    words = shlex.split(pretrain_command(task_of(asked), wanted))
    assert words[:2] == ["metatc2", "pretrain"]
    made: list[Config] = []

    def kept(config: Config, path: Path, **rest: object) -> None:
        made.append(config)
        raise InputError("it is known what would be trained")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("metatc2.experiment.run.pretrain", kept)
        assert call(*words[1:], "--run", "nowhere") == 2
    assert fingerprint(made[0]) == fingerprint(wanted)
    assert made[0].data == wanted.data


@pytest.mark.parametrize("root", ["none", " a", "'a'", '"a', "a,b", "5", "true"])
def test_a_text_that_would_be_read_otherwise_is_quoted_in_the_command(root: str) -> None:
    wanted = override(read_task("digits"), [f"data.root={json.dumps(root)}"])
    words = shlex.split(pretrain_command("digits", wanted))
    assert override(Config(), words[words.index("--set") + 1 :]).data.root == root


@pytest.mark.slow
def test_a_stop_leaves_what_the_next_call_goes_on_with(photos: str, done: Path, tmp_path: Path) -> None:
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 25

    with pytest.raises(TrainingStopped, match="the same command goes on"):
        advise(photos, tmp_path / "cut", stop=stop, **QUICK)
    kept = sorted(p.name for p in (tmp_path / "cut" / "measured").iterdir())
    assert kept
    whole = advise(photos, tmp_path / "cut", **QUICK)
    assert len(list((tmp_path / "cut" / "measured").iterdir())) > len(kept)
    told = json.loads((done / "advice.json").read_text())["rows"]
    assert [row.by_seed for row in whole.rows] == [tuple(row["by_seed"]) for row in told]


@pytest.mark.slow
def test_encoders_that_are_named_stand_beside_and_those_that_saw_the_images_are_not_chosen(
    photos: str, done: Path, tmp_path: Path
) -> None:
    found = advise(photos, tmp_path / "more", **{**QUICK, "encoders": [str(done / "simclr-s0")]})
    own = {row.arm: row for row in found.rows if row.labels_per_class == 1}[str(done / "simclr-s0")]
    assert own.kind == "given"
    assert "may have seen the test images" in own.note
    assert any("cannot be chosen" in note for note in found.notes)
    # It is the encoder that was pre-trained here under the first seed, and had the same labels.
    assert own.by_seed[0] == next(row for row in found.rows if row.arm == "SimCLR").by_seed[0]


def test_draws_are_the_same_for_all_and_of_choice_and_test_apart() -> None:
    labels = torch.arange(200) // 50
    store = ImageStore("toy", torch.zeros(200, 1, 8, 8, dtype=torch.uint8), labels)
    parts = cut(store, Asked.checked("toy", steps=1))
    drawn = [
        *parts.test_draws(5, 0, 2),
        *parts.test_draws(5, 1, 2),
        parts.validation_draw(5, 0),
        parts.validation_draw(5, 1),
    ]
    assert len({tuple(rows.tolist()) for rows in drawn}) == 6
    assert all(labels[rows].bincount().tolist() == [5] * 4 for rows in drawn)
    assert {row for rows in drawn for row in rows.tolist()} <= set(parts.training.tolist())
    assert torch.equal(parts.test_draws(5, 1, 2)[0], parts.test_draws(5, 1, 2)[0])


def test_minutes_are_cut_in_equal_times(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = Asked.checked("digits", minutes=10, labels_per_class=[1], seeds=2, draws=1)
    base = base_config(asked)
    parts = cut(load("digits"), asked)
    each = {"simclr": 0.1, "simclr-visreg": 0.2, "barlow": 0.1, "barlow-tc2-isotropy": 0.4}
    monkeypatch.setattr(budget, "_step_seconds", lambda config, store, folder, stop, clock: each[folder.name])
    monkeypatch.setattr(budget, "_scratch_seconds", lambda base, parts, clock: 0.01)
    found = derive(asked, base, parts, tmp_path / "timed", lambda: False, lambda: 0.0)
    assert found.steps == {"simclr": 480, "simclr-visreg": 240, "barlow": 480, "barlow-tc2-isotropy": 120}  # 48 s each
    assert found.scratch_steps == 1000  # the most
    monkeypatch.setattr(budget, "_scratch_seconds", lambda base, parts, clock: 10.0)
    assert derive(asked, base, parts, tmp_path, lambda: False, lambda: 0.0).scratch_steps == LEAST_SCRATCH
    few = replace(asked, minutes=0.5)
    assert "give --minutes 2 or more" in refused(lambda: derive(few, base, parts, tmp_path, lambda: False, lambda: 0.0))


def test_a_step_is_timed_by_the_clock(photos: str, tmp_path: Path) -> None:
    asked = Asked.checked(photos, steps=1, assignments=SMALL)
    config = fitted(base_config(asked), 32, asked)
    ticks = iter(range(100))
    config = run_config(config, METHODS["simclr"], 0, 1000)
    timed = budget._step_seconds(config, build_data(config), tmp_path / "t", lambda: False, lambda: 3.0 * next(ticks))
    assert timed == 3.0


@pytest.mark.parametrize("name", METHODS)
def test_methods_are_as_documented(name: str) -> None:
    asked = Asked.checked("digits", steps=1)
    config = run_config(base_config(asked), METHODS[name], 3, 7)
    words = name.split("-")
    assert config.objective.name == words[0]
    assert config.calibration.name == ("tc2" if "tc2" in words else "none")
    assert config.regularizer.name == (words[-1] if len(words) > 1 else "none")
    assert (config.trainer.seed, config.trainer.steps) == (3, 7)


def cells(*share: float, validation: float) -> dict[int, list[AdviceCell]]:
    """Two hundred test images, of which a share is right for every seed, the first ones."""
    return {5: [AdviceCell(validation, tuple([1] * round(200 * s) + [0] * (200 - round(200 * s))), 1) for s in share]}


TRAINED, OTHER = Arm("a", "SimCLR", Kind.PRE_TRAINED), Arm("b", "Barlow Twins", Kind.PRE_TRAINED)


@pytest.mark.parametrize(
    ("trained", "sentence"),
    [
        ((0.80, 0.81, 0.80), "pre-train with SimCLR, +30.3 ± "),
        ((0.50, 0.51, 0.50), "training from scratch, the strongest control, is as good (SimCLR: +0.3 ± "),
        ((0.20, 0.21, 0.20), "training from scratch, the strongest control, is better (SimCLR: −29.7 ± "),
        ((0.20, 0.80, 0.50), "nothing is told apart from training from scratch, the strongest control "),
    ],
)
def test_the_sentence_claims_what_the_interval_does(trained: tuple[float, ...], sentence: str) -> None:
    measured = [
        MeasuredArm(PIXELS, cells(0.3, 0.3, 0.3, validation=0.3)),
        MeasuredArm(RANDOM, cells(0.9, 0.9, 0.9, validation=0.2)),  # best on test, so a choice by test would take it
        MeasuredArm(SCRATCH, cells(0.5, 0.5, 0.5, validation=0.5)),
        MeasuredArm(TRAINED, cells(*trained, validation=0.6)),
        MeasuredArm(OTHER, cells(0.95, 0.95, 0.95, validation=0.4)),
        MeasuredArm(Arm("c", "seen", Kind.GIVEN), cells(0.99, 0.99, 0.99, validation=0.99), note="saw the test images"),
    ]
    rows, verdicts = rows_and_verdicts(measured, torch.zeros(200, dtype=torch.int64))
    assert verdicts[0].sentence.startswith(f"with 5 labels a class: {sentence}")
    assert (verdicts[0].arm, verdicts[0].control) == ("SimCLR", "training from scratch")
    assert "--seeds" not in verdicts[0].sentence
    if trained[0] == 0.80:
        assert "points over training from scratch, the strongest control (+50.3 ± " in verdicts[0].sentence
    assert rows[0].over_pixels == rows[0].over_pixels_ci95 == 0


def test_of_an_encoder_that_is_named_the_best_of_those_pre_trained_here_is_told_too() -> None:
    measured = [
        MeasuredArm(PIXELS, cells(0.3, 0.3, 0.3, validation=0.3)),
        MeasuredArm(TRAINED, cells(0.5, 0.5, 0.5, validation=0.5)),
        MeasuredArm(Arm("c", "mine", Kind.GIVEN), cells(0.8, 0.8, 0.8, validation=0.8)),
    ]
    sentence = rows_and_verdicts(measured, torch.zeros(200, dtype=torch.int64))[1][0].sentence
    assert "take mine, +50.0 ± " in sentence
    assert "(of those pre-trained here SimCLR: +20.0 ± " in sentence


def test_of_two_seeds_it_is_said_that_more_are_needed() -> None:
    measured = [
        MeasuredArm(PIXELS, cells(0.3, 0.3, validation=0.3)),
        MeasuredArm(TRAINED, cells(0.4, 0.6, validation=0.6)),
    ]
    sentence = rows_and_verdicts(measured, torch.zeros(200, dtype=torch.int64))[1][0].sentence
    assert "nothing is told apart from raw pixels" in sentence
    assert sentence.endswith("; 2 seeds are too few, use more seeds (--seeds 5, in another --folder)")


def test_the_interval_covers_seeds_and_images() -> None:
    values = torch.rand(3, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mean, half = spread(values)
    over_seeds, over_images = mean_interval(values.mean(1))[1], mean_interval(values.mean(0))[1]
    assert mean == pytest.approx(float(values.mean()))
    assert half == pytest.approx((over_seeds**2 + over_images**2) ** 0.5)
    assert half > max(over_seeds, over_images)


def test_more_features_than_labels_change_no_prediction() -> None:
    draws = torch.Generator().manual_seed(1)
    x, asked = torch.randn(12, 40, generator=draws), torch.randn(50, 40, generator=draws)
    labels = torch.arange(12) % 3
    narrow = predict(x, labels, asked, 0)
    # Twelve directions more and rotated: the same problem.
    turn = torch.linalg.qr(torch.randn(60, 60, generator=draws)).Q
    wide = torch.nn.functional.pad(x, (0, 20)) @ turn, torch.nn.functional.pad(asked, (0, 20)) @ turn
    assert torch.equal(predict(wide[0], labels, wide[1], 0), narrow)

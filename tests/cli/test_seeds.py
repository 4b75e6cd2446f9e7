"""Runs of several seeds under one name: made, continued, measured, compared."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from metatc2.errors import InputError
from metatc2.experiment.config import Config, override, write_config
from metatc2.experiment.run_config import read_run_config
from metatc2.experiment.seed_folders import named_runs, run_folders
from metatc2.transfer import Row

from ..command_line import call

pytestmark = pytest.mark.filterwarnings("ignore::metatc2.training.HealthWarning")

SMALL = ["data.image_size=16", "encoder.width=4", "episode.batch=8", "episode.tasks=2"]
TO = ["--to", "digits:meta-test", "--way", "2", "--shot", "1", "--episodes", "4", "--head", "cosine"]


def folders(root: Path, *names: str) -> None:
    for name in names:
        (root / name).mkdir()


def test_a_name_stands_for_its_seeds_in_their_order(tmp_path: Path) -> None:
    folders(tmp_path, "a-s10", "a-s2", "a-s02", "a-sx", "ab-s3", "b", "b-s0", "[c]-s1")
    (tmp_path / "a-s7").write_text("no folder")
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    assert [path.name for path in run_folders([a])] == ["a-s2", "a-s10"]
    assert [path.name for path in run_folders([a, b], [10])] == ["a-s10", "b"]  # a folder stands for itself
    assert [path.name for path in run_folders([str(tmp_path / "[c]")])] == ["[c]-s1"]
    assert run_folders(["no/such"]) == [Path("no/such")]
    assert named_runs("timm:resnet18@a//b") == ["timm:resnet18@a//b"]  # as it was typed
    with pytest.raises(InputError, match=r"--seeds 3: there is no .*a-s3; of .*a there are the seeds 2, 10"):
        run_folders([a], [2, 3])
    with pytest.raises(InputError, match="--seeds 0: .* stands for no runs of several seeds"):
        run_folders([b], [0])


@pytest.mark.slow  # five runs are trained and measured; the next tests have each part by itself
def test_seeds_are_trained_continued_measured_and_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        words = [
            "pretrain",
            "digits",
            "--calibration",
            "none" if name == "a" else "tasks",
            "--steps",
            "1",
            "--run",
            name,
        ]
        assert call(*words, "--seeds", "0", "3", "--set", *SMALL) == 0
        assert f"{name}-s0 and 1 more hold the encoders; next: metatc2 transfer {name}" in capsys.readouterr().err
        assert [read_run_config(Path(f"{name}-s{seed}")).trainer.seed for seed in (0, 3)] == [0, 3]
    trained = (tmp_path / "b-s0" / "encoder.safetensors").stat().st_mtime_ns
    assert call(*words, "--seeds", "0", "3", "4", "--set", *SMALL) == 0  # goes on with what is left
    assert (tmp_path / "b-s0" / "encoder.safetensors").stat().st_mtime_ns == trained
    assert (tmp_path / "b-s4" / "encoder.safetensors").exists()
    assert call(*words, "--seeds", "0", "3", "--set", *SMALL, "trainer.lr=0.5") == 2
    assert "b-s0 holds a run with another configuration" in capsys.readouterr().err

    assert call("transfer", "a", *TO, "--json", "a.json") == 0
    assert {row["seed"] for row in json.loads(Path("a.json").read_text())} == {0, 3}
    assert "Mean over the seeds 0, 3, in %" in " ".join(capsys.readouterr().out.split())
    assert call("transfer", "b", "--seeds", "0", "3", *TO) == 0
    assert not (tmp_path / "b-s4" / "transfer.json").exists()
    assert call("transfer", "a", *TO, "--out", "x") == 2
    assert "a stands for 2 runs, and --out x can hold the results of one" in capsys.readouterr().err
    assert call("compare", "a", "b", "--seeds", "0", "3", "--json", "d.json") == 0
    assert [one["seeds"] for one in json.loads(Path("d.json").read_text())] == [[0, 3]]
    assert call("matrix", "a", "--head", "cosine") == 0
    assert "over seeds" in capsys.readouterr().out


def test_every_run_of_a_name_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    folders(tmp_path, "a-s0", "a-s1", "[b]:smile:-s0", "[b]:smile:-s1")
    asked: list[str] = []

    def measure(encoder: str, **options: object) -> list[Row]:
        asked.append(encoder)
        return [
            Row(
                protocol="knn",
                source="a",
                target="t",
                split="t",
                mean=0.5,
                ci95=0.1,
                seed=len(asked),
                encoder_sha256="",
            )
        ]

    monkeypatch.setattr("metatc2.experiment.transfer.transfer", measure)
    assert call("transfer", "[b]:smile:", "--json", "b.json") == 0
    assert asked == ["[b]:smile:-s0", "[b]:smile:-s1"]
    assert [row["seed"] for row in json.loads(Path("b.json").read_text())] == [1, 2]
    assert "[b]:smile:-s1\n" in capsys.readouterr().out
    assert call("transfer", "a", "--seeds", "1") == 0
    assert call("transfer", "timm:a//b") == 0
    assert asked[2:] == ["a-s1", "timm:a//b"]
    assert call("transfer", "a", "--out", "x") == 2
    assert "a stands for 2 runs, and --out x can hold the results of one" in capsys.readouterr().err


def test_the_mean_over_seeds_stands_below_the_rows_of_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for seed in (0, 1):
        write_config(override(Config(), [f"trainer.seed={seed}"]), tmp_path / f"a-s{seed}" / "config.toml")

    def measure(encoder: str, **options: object) -> list[Row]:
        common = {"protocol": "knn", "source": "a", "target": "t", "split": "t", "ci95": 0.1, "encoder_sha256": ""}
        seed = int(encoder[-1])
        return [
            Row(**common, mean=0.4 + 0.2 * seed, seed=seed, features=features, facts={"k": 5})
            for features in ("encoder", "raw pixels")
        ]

    monkeypatch.setattr("metatc2.experiment.transfer.transfer", measure)
    assert call("transfer", "a") == 0
    out = " ".join(capsys.readouterr().out.split())
    below = out.partition("Mean over the seeds 0, 1, in % (± 95 % interval over seeds)")[2]
    # Of 0.4 and 0.6: s / √2 = 0.1, times the 97.5 % quantile of Student's distribution with one degree of freedom.
    assert re.search(r"t k-NN k=5 50\.0±127\.1 40\.0 ", below)
    write_config(override(Config(), ["trainer.seed=1", "episode.tasks=2"]), tmp_path / "a-s1" / "config.toml")
    assert call("transfer", "a") == 0
    out = capsys.readouterr().out
    assert "Mean over" not in out
    assert "no mean over seeds: the runs of a differ in more than their seed" in out
    shutil.copy(tmp_path / "a-s0" / "config.toml", tmp_path / "a-s1")  # one seed twice is no interval over seeds
    assert call("transfer", "a") == 0
    assert "Mean over" not in capsys.readouterr().out
    assert call("transfer", "a", "--seeds", "1") == 0
    assert "over seeds" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("before", "after"),
    [(["export"], ["a folder"]), (["diagnose"], []), (["umm"], ["--split", "blocks.1"]), (["replay"], [])],
)
def test_a_command_on_one_run_says_how_one_of_the_seeds_is_named(
    before: list[str],
    after: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    folders(tmp_path, "b c-s1", "b c-s0")
    assert call(*before, "b c", *after) == 2
    typed = shlex.join(["metatc2", *before, "b c-s0", *after])
    said = " ".join(capsys.readouterr().err.split())
    assert (
        f"b c is no folder and stands for the runs of seeds (b c-s0, b c-s1), and {before[0]} takes one run: {typed}"
        in said
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--seeds", "1", "1"], "--seeds names the seed 1 twice"),
        (["--seeds", "0", "1", "--seed", "2"], "give --seed S or --seeds S S S, not both"),
        (["--seeds", "0", "--run", "there"], "there is there already, so its name cannot stand for there-s0"),
    ],
)
def test_seeds_that_cannot_be(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    folders(tmp_path, "there")
    assert call("pretrain", "digits", *words) == 2
    assert said in capsys.readouterr().err


def test_a_stop_says_that_the_same_command_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("metatc2.cli._stop_on_signal.StopOnSignal.__call__", lambda self: True)
    words = ["pretrain", "digits", "--steps", "2", "--run", "a", "--seeds", "0", "1", "--set", *SMALL]
    assert call(*words) == 143
    assert "the same command goes on there, and with the seeds that are left" in " ".join(
        capsys.readouterr().err.split()
    )
    assert not (tmp_path / "a-s1").exists()
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert call(*words) == 0
    assert (tmp_path / "a-s1" / "encoder.safetensors").exists()

"""`metatc2 advise` from the command line: page, chart and sentence, progress, and what its page of the docs shows."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from metatc2.cli._advise_progress import _line
from metatc2.cli.advise import METHODS as OFFERED
from metatc2.cli.app import PARSER
from metatc2.errors import InputError
from metatc2.experiment.advice.arms import METHODS
from metatc2.experiment.advice.progress import AdviceProgress, Jobs

from ..command_line import call

PAGE = Path(__file__).resolve().parents[2] / "docs" / "advise.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``my/photos``: four classes of twelve pictures told by their color."""
    root = tmp_path_factory.mktemp("advice")
    rng = np.random.default_rng(0)
    for label in range(4):
        (root / "my/photos" / f"class{label}").mkdir(parents=True)
        for i in range(12):
            pixels = rng.integers(0, 60, (16, 16, 3)) + np.array([60 * label, 180 - 60 * label, 90])
            Image.fromarray(pixels.astype(np.uint8)).save(root / "my/photos" / f"class{label}" / f"{i}.png")
    return root


def test_advise(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(folder)
    words = ["--labels-per-class", "5", "1", "--steps", "1", "--seeds", "2", "--draws", "1", "--method", "simclr"]
    small = ["--set", "encoder.width=8", "data.image_size=16", "episode.batch=16", "episode.tasks=2"]
    assert call("advise", "folder:my/photos", *words, *small, "--json", "advice.json") == 0
    told = capsys.readouterr()
    assert "8/8  SimCLR, seed 1: done; 0 s left" in told.err
    made = folder / "runs" / "folder-my-photos-advice"
    found = json.loads((made / "advice.json").read_text())
    assert json.loads((folder / "advice.json").read_text()) == found
    assert found["sentence"] in " ".join(told.out.split())
    page = (made / "advice.html").read_text()
    assert "Is pre-training worth it on folder:my/photos?" in page
    assert found["sentence"].split(";")[0] in page
    assert "<svg" in page
    assert '<section id="advice" aria-labelledby="advice-title" class="opening">' in page
    # What is proposed next is typed as it stands, for a step more.
    longer = found["next_step"].partition("Trained longer: metatc2 ")[2]
    assert longer in " ".join(told.out.split())
    assert longer.endswith(" --steps 4")
    assert call(*shlex.split(longer)[:-1], "2") == 0
    # What trains it anew makes the run that is there: but for its length, which was changed above.
    anew = found["pretrain"].removeprefix("metatc2 ")
    assert found["pretrain"] in " ".join(told.out.split())
    assert call(*shlex.split(anew), "--run", str(made / "simclr-s0"), "--auto-resume") == 0
    assert "simclr-s0 had all its 2 steps already" in capsys.readouterr().err
    assert call(*shlex.split(anew), "--run", str(made / "simclr-s1"), "--auto-resume") == 2
    assert "another configuration (trainer.seed: 1 in the checkpoint, 0 now)" in capsys.readouterr().err
    with Image.open(made / "advice.png") as chart:
        assert chart.size[0] > 800
    measured = found["transfer"].removeprefix("metatc2 ")
    assert found["transfer"] in " ".join(told.out.split())
    assert measured == "transfer RUN --to folder:my/photos:all --protocol linear --allow-seen"
    assert call(*shlex.split(measured.replace("RUN", str(made / "simclr-s0")).replace("linear", "knn"))) == 0
    # The program of the page, on what is finished: its half an hour alone is left out.
    (program,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    options = {"steps": 1, "seeds": 2, "draws": 1, "methods": ["simclr"], "assignments": small[1:]}
    shortened = program.replace("minutes=30", "**options").replace("runs/advice", str(made))
    assert shortened.count("**options") == 1
    capsys.readouterr()
    exec(compile(shortened, str(PAGE), "exec"), {"options": options})
    sentence, *rows = capsys.readouterr().out.splitlines()
    assert sentence == found["sentence"]
    assert len(rows) == len(found["rows"])
    assert all(re.fullmatch(r".+ [15] [01]\.\d{3} ± \d\.\d{3}", row) for row in rows)


def test_a_stop_is_said_on_a_line_of_its_own_and_the_bar_has_a_total(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal: a live bar
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("metatc2.cli._stop_on_signal.StopOnSignal.__call__", lambda self: True)
    words = ["--steps", "1", "--seeds", "2", "--method", "simclr", "--folder", "stopped", "--labels-per-class", "1"]
    assert call("advise", "folder:my/photos", *words) == 143
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().err).replace("\r", "\n").splitlines()
    (said,) = [line for line in lines if "the same command goes on" in line]
    assert said.startswith("metatc2: stopped: ")
    shown = [line for line in lines if "━" in line]
    assert any("reading images and timing steps" in line and "0/8" in line for line in shown)
    assert not any("/?" in line for line in shown)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["my/photos"], "to learn from the images in it write folder:my/photos"),
        (["folder:my"], "found one class, 'photos'"),
        (["folder:my/photos", "--labels-per-class", "9"], "ask for at most 8 (--labels-per-class)"),
        (["folder:my/photos", "--minutes", "1", "--steps", "2"], "give one of them"),
        (["folder:my/photos", "--set", "regularizer.name=isotropy"], "regularizer.name is what the arms differ by"),
        (["nothing"], "unknown source 'nothing'"),
    ],
)
def test_what_is_refused(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    sentence: str,
) -> None:
    monkeypatch.chdir(folder)
    assert call("advise", *words, "--folder", "refused") == 2
    told = capsys.readouterr().err
    assert sentence in " ".join(told.split())
    assert "Traceback" not in told
    assert not (folder / "refused").exists()


def test_every_command_of_the_page_is_one() -> None:
    lines = re.findall(r"^metatc2 (.*)$", PAGE.read_text(), re.MULTILINE)
    assert len(lines) >= 4
    for line in lines:
        assert callable(PARSER.parse(shlex.split(line, comments=True)))


def test_methods_that_help_names_are_those_that_there_are() -> None:
    assert tuple(METHODS) == OFFERED


def test_time_left_follows_what_jobs_took(capsys: pytest.CaptureFixture[str]) -> None:
    now, told = [0.0], list[AdviceProgress]()
    jobs = Jobs([0.0, 10.0, 10.0, 0.0], told.append, lambda: now[0])
    for seconds in (4.0, 20.0):
        jobs.begin("a")
        now[0] += seconds
        jobs.end("a")
    assert told[-1].left == 24.0  # twice the ten seconds that were expected, and as long as the unknown one took
    jobs.begin("b")
    jobs.within("b", 0.5)
    assert told[-1].left == 14.0
    jobs.end("b", earlier=True)
    assert told[-1].left == 4.0
    _line(told[-1])
    assert "3/4  b: done; 4 s left" in capsys.readouterr().err


@pytest.mark.parametrize("download", [False, True])
def test_weights_of_an_encoder_are_fetched_if_that_is_allowed(
    download: bool, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(name: str, **options: Any) -> Any:
        raise InputError(f"{name} with {options}")

    monkeypatch.chdir(folder)
    monkeypatch.setattr("metatc2.experiment.advice.given.load_pretrained", load)
    words = ["--steps", "1", "--labels-per-class", "1", "--folder", "elsewhere", "--encoder", "timm:resnet18"]
    assert call("advise", "folder:my/photos", *words, *["--download"] * download) == 2
    assert f"timm:resnet18 with {{'download': {download}}}" in capsys.readouterr().err
    assert not (folder / "elsewhere").exists()

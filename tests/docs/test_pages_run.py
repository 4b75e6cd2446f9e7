"""The commands of the pages run in the order in which a page shows them, on little data and for few steps.

Pages with tests of their own are not among them, nor commands for several machines, for stores and for archives elsewhere.
"""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import resnet18

from ..command_line import call

DOCS = Path(__file__).resolve().parents[2] / "docs"
OWN_TESTS = {
    "configuration",
    "data",
    "encoders",
    "export",
    "extending",
    "large-data",
    "many-devices",
    "migration",
    "python",
}
PAGES = [
    page
    for page in (*sorted(DOCS.glob("*.md")), *sorted((DOCS / "methods").glob("*.md")))
    if page.stem not in OWN_TESTS and re.search(r"^metatc2 ", page.read_text(), re.MULTILINE)
]
# In its place stand what the page's reader has: images of theirs, weights of theirs.
INSTEAD = {
    "timm:resnet18": "timm:resnet18:random",
    "cifar10": "folder:my/photos",
    "runs/NAME": "runs/tc2",
    "resnet50@mine.pth": "resnet18@mine.pth",
    "folder:photos": "folder:my/photos",
}
SMALL = {
    **{"trainer.steps": "2", "trainer.log_every": "1", "encoder.width": "8", "data.image_size": "16"},
    **{"transfer.few-shot.episodes": "5"},
}
SELF_SUPERVISED = {"episode.batch": "16", "episode.tasks": "4", "head.projector_hidden": "8", "head.projector_out": "8"}
LABELED = {"episode.meta_batch": "1", "episode.query": "2"}
SHORT = {
    "transfer": ["--episodes", "5"],
    "fuse": ["--draws", "2"],
    "umm": ["--steps", "2"],
    "diagnose": ["--episodes", "1", "--resplits", "39", "--max-images", "64"],
    "advise": ["--steps", "2", "--seeds", "2", "--draws", "1", "--set", "data.image_size=16", "episode.batch=16"],
}
METHODS = {
    **{"tc2": "--calibration tc2", "plain": "--calibration none", "control": "--calibration tasks"},
    **{name: f"--objective {name} --calibration none" for name in ("simclr", "vicreg", "barlow")},
}
#: Of `advise`, which takes one of the two.
NOT_BOTH = {"--minutes": "--steps"}


def lines(page: Path) -> list[str]:
    """But those that replay a step, of which a run that never failed has none."""
    return re.findall(r"^metatc2 (?!replay)(.+)$", page.read_text(), re.MULTILINE)


def values(words: list[str], flag: str) -> list[str]:
    """What stands behind a flag, up to the next."""
    if flag not in words:
        return []
    behind = words[words.index(flag) + 1 :]
    return behind[: next((i for i, word in enumerate(behind) if word.startswith("--")), len(behind))]


def without(words: list[str], flag: str) -> list[str]:
    if flag not in words:
        return words
    start = words.index(flag)
    return words[:start] + words[start + 1 + len(values(words, flag)) :]


def shortened(line: str) -> list[str]:
    """The command with all its own words but those that say how long it takes."""
    words = shlex.split(line.partition(" > ")[0], comments=True)
    for theirs, ours in INSTEAD.items():
        words = [word.replace(theirs, ours) for word in words]
    if words[0] == "pretrain" and "--resume" in words:
        return [*without(words, "--steps"), *(["--steps", "4"] if "--steps" in words else [])]
    if words[0] in ("pretrain", "config"):
        given = dict(value.split("=", 1) for value in values(words, "--set"))
        small = {**SMALL, **(LABELED if "--learner" in words else SELF_SUPERVISED), **given}
        if "--encoder" in words and not values(words, "--encoder")[0].startswith("resnet"):
            del small["encoder.width"]
        return [
            *without(without(words, "--set"), "--steps"),
            "--set",
            *(f"{key}={value}" for key, value in small.items()),
        ]
    short = [] if values(words, "--protocol") else SHORT.get(words[0], [])
    for flag in [word for word in short if word.startswith("--") and word != "--set"]:
        words = without(words, flag)
    for flag, other in NOT_BOTH.items():
        words = without(words, flag) if other in short else words
    return [*words, *short]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos, weights and finished runs, as a reader has them who comes from another page."""
    place = tmp_path_factory.mktemp("reader")
    random = np.random.default_rng(0)
    for i in range(12):
        (place / "my" / "photos" / f"bird {i}").mkdir(parents=True)
        for j in range(36):
            image = (random.integers(0, 255, (20, 20, 3)) // 4 + 15 * i).clip(0, 255).astype(np.uint8)
            Image.fromarray(image).save(place / "my" / "photos" / f"bird {i}" / f"{j}.png")
    for i in range(2):
        shutil.copytree(place / "my" / "photos" / f"bird {i}", place / "my" / "pairs" / f"{i}")
        for image in [*(place / "my" / "pairs" / f"{i}").iterdir()][2:]:
            image.unlink()
    torch.save(resnet18(num_classes=7).state_dict(), place / "mine.pth")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        for method, words in METHODS.items():
            assert call(*shortened(f"pretrain glyphs {words} --run runs/{method}")) == 0
    return place


@pytest.fixture
def reader(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "reader"
    shutil.copytree(made, place)
    monkeypatch.chdir(place)
    return place


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("few_shapes", "small_grids")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_of_a_page_run(page: Path, reader: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for line in lines(page):
        words = shortened(line)
        # Of what a page offers one after the other a reader takes one.
        taken = [] if "--seeds" in words else values(words, "--run")
        for run in [*taken, *(["runs/folder-my-photos-advice"] if words[0] == "advise" else [])]:
            shutil.rmtree(reader / run, ignore_errors=True)
        status = call(*words)
        assert status == 0, f"metatc2 {shlex.join(words)}: {capsys.readouterr().err}"

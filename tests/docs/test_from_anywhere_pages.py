"""Bring your own encoder, bring your own data, publish an encoder: every command and example of these pages runs."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import nn

from metatc2.cli.app import PARSER

from ..command_line import call
from .test_pages_run import shortened

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("encoders", "data", "export")
TEXTS = {page: (ROOT / "docs" / f"{page}.md").read_text() for page in PAGES}
COMMANDS = {page: re.findall(r"^metatc2 (.*)$", text, re.MULTILINE) for page, text in TEXTS.items()}
NETWORK = "from torch import nn\n\ndef small():\n    return nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU())\n"

pytestmark = pytest.mark.filterwarnings("ignore")  # what the commands say of these stand-ins


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with what the pages name."""
    generator = np.random.default_rng(0)
    monkeypatch.chdir(tmp_path)
    for i in range(40):
        (tmp_path / "photos" / f"class{i % 5}").mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 256, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"class{i % 5}" / f"{i}.png")
    torch.manual_seed(0)
    theirs = torchvision.models.resnet18(weights=None).state_dict()
    torch.save({f"module.{key}": value for key, value in theirs.items()}, tmp_path / "mine.pth")
    (tmp_path / "my_networks.py").write_text(NETWORK)
    torch.save(nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU()).state_dict(), tmp_path / "small.pt")
    labels = np.arange(60) % 6
    np.savez(tmp_path / "embeddings.npz", features=generator.normal(size=(60, 8)), labels=labels)
    bands = generator.integers(0, 4096, (60, 16, 16, 13)).astype(np.uint16)
    np.savez(tmp_path / "satellite.npz", images=bands, labels=labels)
    yield tmp_path
    sys.modules.pop("my_networks", None)


@pytest.mark.parametrize("line", [line for lines in COMMANDS.values() for line in lines])
def test_commands_are_ones_that_there_are(line: str) -> None:
    assert callable(PARSER.parse(shlex.split(line, comments=True)))


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_commands_run(page: str, place: Path) -> None:
    assert COMMANDS[page]
    if page == "export":
        settings = ["--set", "encoder.width=4", "episode.batch=32", "--steps", "1"]
        assert call("pretrain", "digits", *settings, "--run", "runs/tc2") == 0
        assert call(*shlex.split(COMMANDS["encoders"][0])) == 0
    for line in COMMANDS[page]:
        words = shlex.split(line, comments=True)
        long = page == "encoders" and words[0] == "pretrain"
        assert call(*(shortened(line) if long else words)) == 0, line


@pytest.mark.parametrize("page", PAGES)
def test_examples_run(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", TEXTS[page], re.DOTALL)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        exec(compile(block, page, "exec"), {"__name__": "example"})
    printed = capsys.readouterr().out
    right = {
        "encoders": "torch.Size([2, 3])",
        "data": "torch.Size([40, 3, 32, 32]) torch.Size([40, 13, 24, 32])",
        "export": "torch.Size([5, 8])",
    }
    assert right[page] in printed

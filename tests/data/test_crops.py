"""Of oblong images the middle is kept: how many, how much is lost, and that a command says so once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metatc2.data import load
from metatc2.data.crops import CROPPED, about_crops

from ..command_line import call


@pytest.fixture
def oblong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Twelve images of two classes; one of each four is oblong, by a third or by a half."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for i in range(12):
        place = Path("photos") / "ab"[i % 2] / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        size = {0: (24, 16), 1: (16, 24), 2: (32, 16), 3: (16, 16)}[i % 4 if i < 4 else 3 if i % 4 else 0]
        Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(place)
    return "folder:photos"


@pytest.mark.parametrize("stream", [False, True])
def test_the_notes_of_a_store_say_it(oblong: str, stream: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METATC2_CACHE", str(Path("cache").absolute()))
    for _ in range(2):  # found, then remembered
        note = str(load(oblong, image_size=16, stream=stream).notes[CROPPED])
        assert note.startswith("5 of 12 images are oblong")
        assert "up to 50 % of one is cut away (" in note
        assert "photos/a/2.png)" in note


def test_of_square_images_nothing_is_said(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((4, 16, 16), np.uint8))
    assert CROPPED not in load(f"npz:{tmp_path / 'a.npz'}").notes
    np.savez(tmp_path / "b.npz", images=np.zeros((4, 16, 12), np.uint8))
    assert "4 of 4 images are oblong" in str(load(f"npz:{tmp_path / 'b.npz'}").notes[CROPPED])
    assert CROPPED not in load("digits", image_size=28).notes
    assert about_crops(np.array([0.01, 0.0])) == ""  # a row of a hundred
    assert about_crops(np.array([0.01, 0.03])).startswith("1 of 2 images are oblong")


@pytest.mark.filterwarnings("ignore::metatc2.training.HealthWarning")
def test_a_command_says_it_once(oblong: str, capsys: pytest.CaptureFixture[str]) -> None:
    small = [
        "--set",
        "data.image_size=16",
        "data.split=all",
        "encoder.name=conv4",
        "encoder.width=8",
        "episode.batch=8",
        "episode.tasks=2",
    ]
    assert call("pretrain", oblong, "--objective", "simclr", "--steps", "1", "--run", "run", *small) == 0
    said = "folder:photos: 5 of 12 images are oblong"
    assert capsys.readouterr().err.count(said) == 1
    words = ["transfer", "run", "--to", f"{oblong}:all", oblong, "--allow-seen", "--protocol", "knn"]
    assert call(*words) == 0
    assert capsys.readouterr().err.count(said) == 1

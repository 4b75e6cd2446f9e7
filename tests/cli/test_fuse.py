"""`metatc2 fuse` from the command line: rows and tables, and what is refused before anything is computed or written."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from metatc2.transfer.fusion import FitOptions

from ..command_line import call

pytestmark = pytest.mark.filterwarnings("ignore::metatc2.training.HealthWarning")

SMALL = ["encoder.width=8", "episode.batch=16", "episode.tasks=2", "trainer.log_every=2"]
FEW = ["--labels-per-class", "1", "2", "--draws", "2"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two encoders of digits, and one of smaller images."""
    folder = tmp_path_factory.mktemp("fusion")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, size in (("simclr", 16), ("vicreg", 16), ("small", 20)):
            objective = "simclr" if name == "small" else name
            words = ["digits", "--calibration", "none", "--objective", objective, "--steps", "2", "--run", name]
            assert call("pretrain", *words, "--set", *SMALL, f"data.image_size={size}") == 0
    return folder


@pytest.fixture
def small_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """One candidate of what is chosen inside the labels, and few steps."""
    monkeypatch.setattr("metatc2.transfer.fusion.labeled.C_GRID", (10.0,))
    for name, value in (("entropies", (0.1,)), ("decays", (0.1,)), ("steps", 10)):
        monkeypatch.setitem(FitOptions.__init__.__kwdefaults__, name, value)  # type: ignore[arg-type]


@pytest.mark.usefixtures("small_fits")
def test_fuse(runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    monkeypatch.chdir(runs)
    out = tmp_path / "fusion.json"
    words = ["--to", "digits:meta-test", *FEW, "--attention", "static", "--baseline", "mean-of-logits", "sur"]
    assert call("fuse", "simclr", "vicreg", *words, "--equal-compute", "simclr", "--json", str(out)) == 0
    held = json.loads(out.read_text())
    assert [encoder["name"] for encoder in held["encoders"]] == ["simclr", "vicreg", "simclr"]
    assert {row["labels_per_class"] for row in held["rows"]} == {1, 2}
    methods = {(row["method"], row["setting"]) for row in held["rows"]}
    assert {
        ("static", "with an untrained encoder"),
        ("sur", "one encoder twice"),
        ("alone: simclr", "as given"),
    } <= methods
    assert all(len(row["accuracies"]) == 2 for row in held["rows"])
    assert held["targets"][0]["target"] == "digits:meta-test"
    assert not held["targets"][0]["classes_seen"]
    told = " ".join(capsys.readouterr().out.split())
    for words_said in ("attention: static", "alone: vicreg", "paired differences", "weight of each encoder by class"):
        assert words_said in told
    assert "is not equal compute" in told  # two steps, and four of both together


@pytest.mark.usefixtures("small_fits")
def test_commands_that_compute_features_say_what_is_left(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(runs)
    monkeypatch.setattr("metatc2.transfer.feature_table._PATIENCE", -1.0)
    monkeypatch.setattr("metatc2.transfer.feature_table._PIXELS", 64 * 16 * 16)
    to = ["--to", "digits:meta-validation"]  # whose features no other test leaves in the runs
    fused = [*FEW, "--attention", "static", "--baseline", "mean-of-logits", "--equal-compute", "simclr"]
    for words in (
        ["transfer", "simclr", *to, "--episodes", "2", "--out", str(tmp_path / "results")],
        ["estimate", "simclr", "vicreg", *to],
        ["fuse", "simclr", "vicreg", *to, *fused],
    ):
        assert call(*words) == 0
        told = capsys.readouterr().err
        assert re.search(r"note: digits: \S+, features of 64 of \d+ images; \d+ s left", told), words[0]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["simclr"], "needs two encoders or more, got 1"),
        (["simclr", "simclr"], "simclr is the same encoder as simclr"),
        (["simclr", "small"], "small takes images of 1 × 20 × 20 and simclr of 1 × 16 × 16"),
        (
            ["simclr", "vicreg", "--labels-per-class", "5", "500"],
            "has 139 images to draw labels from and 500 were asked",
        ),
        (["simclr", "vicreg", "--draws", "1"], "draws must be at least 2, got 1"),
        (
            ["simclr", "vicreg", "--attention", "sampel"],
            "fuse: --attention: unknown attention 'sampel'; did you mean 'sample'",
        ),
        (["simclr", "vicreg", "--baseline", "surr"], "fuse: --baseline: unknown baseline 'surr'; did you mean 'sur'"),
        (["simclr", "vicreg", "--to", "digits:meta-train"], "of its classes were among the pre-training images"),
        (["simclr", "nowhere"], "nowhere"),
    ],
)
def test_what_is_refused_writes_nothing(
    words: list[str],
    sentence: str,
    runs: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(runs)
    out = tmp_path / "fusion.json"
    before = sorted(runs.rglob("*"))
    to = [] if "--to" in words else ["--to", "digits:meta-test"]
    assert call("fuse", *words, *to, "--json", str(out)) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert sentence in said
    assert said.count("metatc2: error:") == 1
    assert not out.exists()
    assert sorted(runs.rglob("*")) == before

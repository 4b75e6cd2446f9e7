"""Judging from the command line: matrix, estimate, diagnose, report, streamed targets, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from metatc2.transfer.row_filter import EVERY_ROW

from ..command_line import call

pytestmark = pytest.mark.filterwarnings("ignore::metatc2.training.HealthWarning")

SMALL = ["data.image_size=16", "encoder.width=8", "episode.batch=16", "episode.tasks=2", "trainer.log_every=2"]
TO = ["--to", "digits:meta-test", "--episodes", "10", "--way", "2", "--shot", "1"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """TC², with weights of each task's own and with one calibrator for all, and plain, on scikit-learn's digits."""
    folder = tmp_path_factory.mktemp("judging")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for calibration in ("tc2", "none"):
            words = ["digits", "--calibration", calibration, "--steps", "3", "--run", calibration]
            one_step = ["calibration.inner_steps=1"] if calibration == "tc2" else []
            assert call("pretrain", *words, "--set", *SMALL, *one_step) == 0
            assert call("transfer", calibration, *TO) == 0
        words = ["digits", "--calibration", "tc2", "--steps", "3", "--run", "shared"]
        assert call("pretrain", *words, "--set", *SMALL, "calibration.adapt=shared", "calibration.inner_steps=1") == 0
        assert call("transfer", "shared", *TO) == 0
    return folder


def test_matrix(runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(runs)
    assert call("matrix", "tc2", "none") == 0
    told = capsys.readouterr().out
    for words in (
        "simclr+tc2 from digits:meta-train",
        "simclr from",
        "random encoder",
        "raw pixels",
        "2-way 1-shot, cosine",
    ):
        assert words in told
    assert call("matrix", "tc2", "nowhere") == 2
    assert call("matrix", "tc2", "--features", "adapted") == 2


def test_an_estimate_is_on_what_the_run_learned_from_unless_told_otherwise(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(runs)
    assert call("estimate", "none") == 0
    assert "digits:" in capsys.readouterr().out


def test_estimate(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(runs)
    out = tmp_path / "e.json"
    assert call("estimate", "tc2", "none", "--to", "digits:meta-test", "--json", str(out)) == 0
    rows = json.loads(out.read_text())
    assert [row["encoder"] for row in rows] == ["tc2", "none"]
    assert all(row["measured"] is not None and row["H-score"] > 0 for row in rows)
    assert "compare within one target" in capsys.readouterr().out


FEW = ["--max-images", "100", "--episodes", "1"]


@pytest.mark.slow
def test_diagnose_weights_of_each_tasks_own(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(runs)
    assert call("diagnose", "tc2", "--against", "none", *FEW) == 0
    assert "T, transferability" in " ".join(capsys.readouterr().out.split())


@pytest.mark.slow
@pytest.mark.parametrize("drawn", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_diagnose_then_report(
    drawn: bool, runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(runs)
    assert call("diagnose", "shared", "--against", "none", "shared@blocks.1", *FEW) == 0
    told = " ".join(capsys.readouterr().out.split())  # titles are broken where their table ends
    for words in ("RankMe", "T, transferability", "noise null: 39 re-splits", "Factors of the calibrator", "none"):
        assert words in told
    found = json.loads((runs / "shared" / "diagnose.json").read_text())
    assert found["conflict"]["resplits"] == 39
    assert found["cka"].keys() == {"calibrated", "none", "shared@blocks.1"}
    asked = "report", "tc2", "shared", "none", "--out", str(tmp_path / "page.html"), "--assets"
    if drawn:
        assert call(*asked) == 0
        page = (tmp_path / "page.html").read_text()
        assert "simclr+tc2 against simclr" in page
        assert "simclr+tc2(shared)" in page
        assert (tmp_path / "page_assets" / "task-conflict.csv").exists()
    else:  # `tests/report` draws such a page
        with mock.patch("metatc2.report.html.report.write_report") as write:
            assert call(*asked) == 0
        write.assert_called_once_with(
            [Path("tc2"), Path("shared"), Path("none")],
            tmp_path / "page.html",
            assets=True,
            fusion=None,
            chosen=EVERY_ROW,
        )
    assert call("report", "nowhere", "--out", str(tmp_path / "no.html")) == 2
    assert not (tmp_path / "no.html").exists()


def test_diagnose_refuses_encoders_of_other_images(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(runs)
    assert call("diagnose", "tc2", "--against", "torchvision:shufflenet_v2_x0_5:random") == 2
    assert "compare encoders of the same images" in capsys.readouterr().err


def test_streamed_targets_give_the_same_rows(runs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(runs)
    monkeypatch.setenv("METATC2_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for kind in ("oak", "ash", "elm"):
        (tmp_path / "trees" / kind).mkdir(parents=True)
        for i in range(12):
            pixels = rng.integers(0, 255, (30, 36, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "trees" / kind / f"{i}.png")
    words = ["transfer", "tc2", "--to", f"folder:{tmp_path / 'trees'}:all", *TO[2:], "--protocol", "few-shot", "knn"]
    assert call(*words, "--out", str(tmp_path / "memory")) == 0
    assert call(*words, "--out", str(tmp_path / "disk"), "--stream", "--workers", "2") == 0
    one, two = (json.loads((tmp_path / name / "transfer.json").read_text()) for name in ("memory", "disk"))
    assert one == two


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--protocol", "lineal"], "did you mean 'linear'?"),
        (["--head", "cosin"], "did you mean 'cosine'?"),
        (["--layer", "blocs.1"], "did you mean 'blocks.1'?"),
        (["--set", "trainer.lr=1"], "only keys of [transfer] can be changed here"),
        (["--to", "digits:all"], "classes were among the pre-training images"),
        (["--to", "digits:meta-test", "--protocol", "clips"], "holds images; name a folder of frame folders"),
        (["--to", "digits:meta-test", "--protocol", "leave-one-domain-out"], "at least two domains"),
        (
            ["--protocol", "clips", "linear"],
            "no protocol of those chosen (clips, linear) has 'ways'; they have no options",
        ),
        (["--protocol", "knn"], "no protocol of those chosen (knn) has 'ways'; known: ks, temperature"),
    ],
)
def test_what_is_refused_writes_nothing(
    runs: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(runs)
    before = (runs / "tc2" / "transfer.json").read_bytes()
    assert call("transfer", "tc2", *([] if "--to" in words else TO), *words) == 2
    assert message in capsys.readouterr().err
    assert (runs / "tc2" / "transfer.json").read_bytes() == before


def test_an_encoder_without_folder_needs_one_for_its_results(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("transfer", "torchvision:shufflenet_v2_x0_5:random", "--to", "digits:all", "--image-size", "32") == 2
    assert "name a folder with --out DIR" in capsys.readouterr().err

"""What an option names for output never takes the place of a run's own file, an input, or a file of another kind."""

from __future__ import annotations

import inspect
import os
import re
from pathlib import Path

import pytest

from metatc2.cli.app import COMMANDS
from metatc2.experiment import run as runs
from metatc2.experiment.config import Config, override
from metatc2.experiment.hub import save_pretrained
from metatc2.io.run_files import folder_of_file
from metatc2.transfer.estimates import Estimate

from ..command_line import call

ESTIMATE = Estimate("a", "b", {"LogME": 1.0}, None)

pytestmark = pytest.mark.filterwarnings("ignore::metatc2.training.HealthWarning")

OWN = (
    "config.toml",
    "metrics.jsonl",
    "transfer.json",
    "transfer.safetensors",
    "encoder.safetensors",
    "learner.safetensors",
    "encoder.json",
    "diagnose.json",
    ".lock",
    "checkpoint",
    "checkpoint/step-00000003/state.json",
    "features/new.json",
    "Config.TOML",
)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def commands(run: Path) -> dict[str, tuple[str, ...]]:
    return {
        "report": ("report", str(run), "--out"),
        "transfer": ("transfer", str(run), "--json"),
        "estimate": ("estimate", str(run), "--json"),
        "compare": ("compare", str(run), str(run.parent / "other"), "--json"),
        "diagnose": ("diagnose", str(run), "--json"),
    }


@pytest.fixture(autouse=True)
def _no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    for place in (
        "metatc2.report.html.report.read_methods",
        "metatc2.experiment.transfer.transfer",
        "metatc2.experiment.estimate.run",
        "metatc2.experiment.compare.compare",
        "metatc2.experiment.diagnose.run",
    ):
        monkeypatch.setattr(place, lambda *words, **options: pytest.fail("worked before it refused"))


@pytest.mark.parametrize("command", ["report", "transfer", "estimate", "compare", "diagnose"])
def test_a_file_of_a_run_is_never_replaced(command: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, link = contents(run), run.parent / "link"
    link.symlink_to(run)
    exported = save_pretrained(run, run.parent / "exported")
    kept = contents(exported)
    for name in OWN:
        if (command, name) != ("diagnose", "diagnose.json"):
            assert call(*commands(run)[command], str(run / name)) == 2, name
    assert call(*commands(run)[command], str(link / "config.toml")) == 2  # whatever stands behind it
    for name in ("config.json", "model.safetensors", "README.md"):
        assert call(*commands(run)[command], str(exported / name)) == 2, name
    assert contents(run) == before
    assert contents(exported) == kept
    assert "is the name of a file that is kept in" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("command", ["report", "transfer", "estimate", "compare", "diagnose"])
def test_a_file_of_another_kind_is_never_replaced(
    command: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("task.toml", "weights.pth", "mine.safetensors", "images.npz", "cat.png", "notes", "script.py"):
        (tmp_path / name).write_bytes(b"mine")
        assert call(*commands(run)[command], str(tmp_path / name)) == 2, name
        assert (tmp_path / name).read_bytes() == b"mine"
        assert "are replaced; choose another name" in " ".join(capsys.readouterr().err.split())


#: What is asked for is not there, so that it would be missed if it were looked for before the output is.
UNWRITABLE = {
    ("advise", "folder"): ("folder:nowhere", "--folder"),
    ("advise", "json"): ("folder:nowhere", "--json"),
    ("compare", "json"): ("nowhere", "nothing", "--json"),
    ("demo", "folder"): ("--folder",),
    ("diagnose", "json"): ("nowhere", "--json"),
    ("doctor", "json"): ("--json",),
    ("estimate", "json"): ("nowhere", "--json"),
    ("export", "folder"): ("nowhere",),
    ("fuse", "json"): ("nowhere", "nothing", "--json"),
    ("pretrain", "run"): ("folder:nowhere", "--learner", "maml", "--run"),
    ("report", "out"): ("nowhere", "--out"),
    ("transfer", "json"): ("nowhere", "--json"),
    ("transfer", "out"): ("nowhere", "--out"),
    ("umm", "out"): ("nowhere", "--split", "blocks.0", "--out"),
}
#: Parameters that name what is written; a positional DIR of these names is what is read.
_WRITTEN = ("folder", "json", "out", "run")
_READ = {("diagnose", "run"), ("umm", "run"), ("replay", "run")}


def test_every_output_of_every_command_is_tried_below() -> None:
    named = {
        (command.__name__, name)
        for command in COMMANDS
        for name in inspect.signature(command).parameters
        if name in _WRITTEN
    }
    assert named - _READ == set(UNWRITABLE)


@pytest.mark.parametrize(("command", "option"), UNWRITABLE)
def test_an_output_that_cannot_be_written_is_refused_before_anything_is_read(
    command: str, option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("metatc2.cli._demo_runs.run_jobs", lambda *words: pytest.fail("it was trained"))
    monkeypatch.setattr("metatc2.cli.doctor.packages", lambda: pytest.fail("they were looked for"))
    Path("file").write_text("here")
    place = "file/a.html" if option == "out" and command == "report" else "file/a"
    assert call(command, *UNWRITABLE[command, option], place) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert re.search(r"file/a\S* cannot be written \(.*\); .*(name a|another folder)", said), said
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("network", ["torchvision:resnet18", "timm:none", "hub:a/b", "a.b:c@w.pt", "resnet18@w.pt"])
def test_a_folder_for_results_is_missed_before_a_network_is_loaded(
    network: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr("metatc2.experiment.transfer.load_pretrained", lambda *a, **o: pytest.fail("it was loaded"))
    assert call("transfer", network, "--to", "digits") == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"{network} is no run folder to keep the results in; name a folder with --out DIR" in said


def test_a_file_of_the_right_kind_is_replaced(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metatc2.experiment.estimate.run", lambda *words, **options: ([ESTIMATE], {}))
    (tmp_path / "a.json").write_text("earlier")
    for path in (tmp_path / "a.json", tmp_path / "new", run / "estimates.json"):
        assert call("estimate", str(run), "--json", str(path)) == 0
        assert path.read_text() != "earlier"


def test_names_of_a_run_are_free_where_there_is_none(tmp_path: Path) -> None:
    assert folder_of_file(tmp_path / "transfer.json") is None
    (tmp_path / "metrics.jsonl").write_text("")
    assert folder_of_file(tmp_path / "transfer.json") == Path(os.path.realpath(tmp_path))
    assert folder_of_file(tmp_path / "checkpoint" / "a" / "b") == Path(os.path.realpath(tmp_path))
    assert folder_of_file(tmp_path / "mine.json") is None


def test_results_of_another_encoder_do_not_go_into_a_run_folder(
    config: Config, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.undo()
    runs.pretrain(override(config, ["trainer.seed=5"]), tmp_path / "other")
    before = contents(run)
    assert call("transfer", str(tmp_path / "other"), "--out", str(run)) == 2
    assert "is the run folder of another encoder" in " ".join(capsys.readouterr().err.split())
    assert contents(run) == before

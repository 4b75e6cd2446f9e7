"""The page on run folders names every file of a run, and says of a cut one what `RunFolder` says."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from metatc2.io.run_files import IDENTITY, OF_A_RUN
from metatc2.training.checkpoint import save_checkpoint
from metatc2.training.run_folder import RunFolder, State

from ..command_line import call

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "run-folder.md").read_text()
KILLED = dict(re.findall(r"^\| ([^|]+) \| [^|]+ \| `(\w+)` \|", PAGE, re.MULTILINE))


def config(folder: Path) -> None:
    (folder / "config.toml").write_text("")


def checkpoint(folder: Path, step: int = 2) -> None:
    save_checkpoint(folder / "checkpoint", step, {}, {})


def half_written(folder: Path) -> None:
    (folder / ".config.toml.999999999.tmp").write_text("[da")


def begun(folder: Path) -> None:
    config(folder)
    (folder / "metrics.jsonl").write_text('{"step": 1, "loss": 1.0}\n{"st')


def writing_a_checkpoint(folder: Path) -> None:
    begun(folder)
    checkpoint(folder)
    (folder / "checkpoint" / ".step-00000004.999999999.tmp").mkdir()


def two_checkpoints(folder: Path) -> None:
    begun(folder)
    checkpoint(folder)
    (folder / "checkpoint" / "step-00000002").rename(folder / "kept")
    checkpoint(folder, 4)
    (folder / "kept").rename(folder / "checkpoint" / "step-00000002")


def between(folder: Path) -> None:
    begun(folder)
    checkpoint(folder)


def writing_the_end(folder: Path) -> None:
    between(folder)
    (folder / "heads.safetensors").write_bytes(b"")


def ended(folder: Path) -> None:
    writing_the_end(folder)
    (folder / "encoder.safetensors").write_bytes(b"")


MADE: dict[str, Callable[[Path], None]] = {
    "before `config.toml`": half_written,
    "after it, before the first checkpoint": begun,
    "while a checkpoint is written": writing_a_checkpoint,
    "between a checkpoint and the removal of the one before": two_checkpoints,
    "between checkpoints": between,
    "after the last step, while the trained files are written": writing_the_end,
    "after `encoder.safetensors`": ended,
}


def test_every_file_of_a_run_is_named() -> None:
    missing = [name for name in (*OF_A_RUN, IDENTITY) if f"`{name}" not in PAGE]
    assert not missing
    for name in ("state.safetensors", "state.json"):
        assert name in PAGE


@pytest.mark.parametrize("moment", MADE)
def test_a_folder_that_was_cut_is_what_the_page_says(moment: str, tmp_path: Path) -> None:
    MADE[moment](tmp_path)
    folder = RunFolder(tmp_path)
    assert folder.state is State[KILLED[moment]]
    if moment.startswith("between a checkpoint"):
        assert folder.latest is not None
        assert folder.latest.name == "step-00000004"
    with folder.owned():
        assert not list(tmp_path.rglob(".*.tmp"))


@pytest.mark.slow  # trains and measures; a diagnosis takes minutes, and its own tests make one
@pytest.mark.filterwarnings("ignore::metatc2.training.HealthWarning")
def test_the_commands_of_the_page_write_files_that_it_names(tmp_path: Path) -> None:
    lines = re.findall(r"^metatc2 (.*)$", PAGE, re.MULTILINE)
    assert [line.split()[0] for line in lines] == ["pretrain", "transfer", "diagnose"]
    small = {
        "pretrain": "--set trainer.steps=2 encoder.width=8 episode.batch=16 data.image_size=16 trainer.accelerator=cpu",
        "transfer": "--way 2 --query 2 --episodes 5",
    }
    for line in lines[:2]:
        words = line.replace("runs/a", str(tmp_path / "a")).split()
        assert call(*words, *small[words[0]].split()) == 0
    written = {path.name for path in (tmp_path / "a").iterdir()}
    assert {"monitor.jsonl", "transfer.safetensors", "features", "calibrator.safetensors"} <= written
    assert not [name for name in written if f"`{name}" not in PAGE]


def test_every_state_is_on_the_page() -> None:
    assert not [state.name for state in State if f"`{state.name}`" not in PAGE]

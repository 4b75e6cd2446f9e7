"""`benchmarks/faults.py`: a killed run that ends otherwise, or does not go on, is counted as such. Runs are stand-ins."""

from __future__ import annotations

import dataclasses
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ..command_line import PATIENCE

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it reads what Linux says of processes"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]


def life(ends: str) -> Callable[[Path], None]:
    """The first process waits to be killed; the second writes what it ends in, or fails where that is nothing."""

    def one(folder: Path) -> None:
        if not folder.exists():
            folder.mkdir()
            (folder / f".half.{2**22 + 1}.tmp").touch()
            time.sleep(PATIENCE)
        (folder / f".half.{2**22 + 1}.tmp").unlink()
        if not ends:
            raise ValueError("it does not go on")
        (folder / "end").write_text(ends)

    return one


def until_begun(folder: Path, seconds: float, rng: random.Random) -> None:
    while not (folder.is_dir() and any(folder.iterdir())):
        time.sleep(0.001)


@pytest.mark.parametrize(
    ("ends", "alike", "stopped"),
    [("as it was", 1, 0), ("otherwise", 0, 0), ("", 0, 1)],
    ids=["alike", "otherwise", "not"],
)
def test_how_a_killed_run_goes_on(
    ends: str,
    alike: int,
    stopped: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import faults

    monkeypatch.setattr(faults, "bits", lambda folder: ((folder / "end").read_text(), []))
    kind: Any = dataclasses.replace(next(faults.kinds(noise(tmp_path))), life=life(ends), when=until_begun)
    found = faults.trial(kind, tmp_path / "run", 0.0, ("as it was", []), random.Random(0))
    assert (
        found["kills"]
        == found["left half-written files"]
        == found["runs"]
        == found["then foreign"] + found["then new"]
        == 1
    )
    assert (found["ended in the same bits"], found["did not go on"]) == (alike, stopped)
    assert ("it does not go on" in capsys.readouterr().err) == bool(stopped)


@pytest.mark.parametrize("hangs", [False, True])
def test_a_process_that_outlives_the_killed_one_is_counted(
    hangs: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import faults
    import torch.distributed as dist

    def two(folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        if (folder / "cut").exists():
            (folder / "end").write_text("as it was")
            return
        dist.barrier()
        (folder / f"begun-{dist.get_rank()}").touch()
        if dist.get_rank() == 0:  # the one that is killed
            time.sleep(PATIENCE)
        while not hangs:
            dist.barrier()
        time.sleep(PATIENCE)

    def both_begun(folder: Path, seconds: float, rng: random.Random) -> None:
        while not all((folder / f"begun-{rank}").exists() for rank in (0, 1)):
            time.sleep(0.001)
        (folder / "cut").touch()

    monkeypatch.setattr(faults, "bits", lambda folder: ((folder / "end").read_text(), []))
    monkeypatch.setattr(faults, "HUNG", 0.2 if hangs else PATIENCE)
    kind: Any = dataclasses.replace(next(faults.kinds(noise(tmp_path))), life=two, when=both_begun, ranks=2)
    first: Any = type("First", (), {"randrange": lambda self, size: 0})()
    found = faults.trial(kind, tmp_path / "run", 0.0, ("as it was", []), first)
    assert (found["kills"], found["others that hung"], found["ended in the same bits"]) == (1, hangs, 1)


def noise(folder: Path) -> Path:
    (folder / "noise.npz").touch()
    return folder / "noise.npz"

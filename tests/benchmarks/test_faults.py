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


def noise(folder: Path) -> Path:
    (folder / "noise.npz").touch()
    return folder / "noise.npz"

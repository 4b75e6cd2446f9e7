"""Worker processes never outlive what they were started for. The jobs import nothing, so that a process starts at once."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import metatc2
from metatc2.cli._worker_pool import Stopped, Worker, run_jobs
from metatc2.io.files import is_alive

from ..command_line import PATIENCE

JOBS = """
import os, time
from pathlib import Path

def until_stopped(folder, name, stop):
    (Path(folder) / f"{name}.part").write_text(str(os.getpid()))
    (Path(folder) / f"{name}.part").rename(Path(folder) / name)
    end = time.monotonic() + PATIENCE
    while not stop() and time.monotonic() < end:
        time.sleep(0.01)
    (Path(folder) / f"{name}.saved").write_text("")
    return name

def failing_or_until_stopped(folder, name, stop):
    if name == "0":
        raise ValueError("failed")
    return until_stopped(folder, name, stop)

def add(a, b, stop):
    return a + b
""".replace("PATIENCE", str(PATIENCE))
SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
import jobs
from metatc2.cli._worker_pool import run_jobs
if __name__ == "__main__":
    list(run_jobs(jobs.until_stopped, [(sys.argv[1], "0")], 2, lambda: False))
"""


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "jobs.py").write_text(JOBS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "jobs", raising=False)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return importlib.import_module("jobs")


def begun(folder: Path) -> list[int]:
    return [int((folder / name).read_text()) for name in "01" if (folder / name).exists()]


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_results_come_and_no_process_is_left(jobs: Any) -> None:
    assert sorted(run_jobs(jobs.add, [(1, 2), (3, 4), (5, 6)], 1, lambda: False)) == [3, 7, 11]
    assert multiprocessing.active_children() == []


def test_workers_ignore_ctrl_c_and_stop_when_their_parent_says_so(jobs: Any, tmp_path: Path) -> None:
    """Ctrl-C goes to the whole group of processes; the parent alone decides."""
    sent: list[int] = []

    def stop() -> bool:
        if not sent and len(begun(tmp_path)) == 2:
            for process in begun(tmp_path):
                os.kill(process, signal.SIGINT)
                sent.append(process)
            return False
        return bool(sent)

    with pytest.raises(Stopped):
        list(run_jobs(jobs.until_stopped, [(str(tmp_path), str(i)) for i in range(8)], 2, stop))
    assert len(sent) == 2
    assert {p.name for p in tmp_path.iterdir() if not {"jobs.py", "__pycache__"} & {p.name}} == {
        "0",
        "1",
        "0.saved",
        "1.saved",
    }
    assert not any(is_alive(process) for process in sent)


def test_an_error_in_one_job_stops_the_others(jobs: Any, tmp_path: Path) -> None:
    given = [(str(tmp_path), str(i)) for i in range(6)]
    with pytest.raises(ValueError, match="failed"):
        list(run_jobs(jobs.failing_or_until_stopped, given, 1, lambda: False))
    assert multiprocessing.active_children() == []


def test_workers_end_when_their_parent_is_killed(jobs: Any, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    path = {"PYTHONPATH": str(Path(metatc2.__file__).parents[1]), "PYTHONDONTWRITEBYTECODE": "1"}
    parent = subprocess.Popen([sys.executable, str(script), str(tmp_path)], env={**os.environ, **path})
    try:
        until(lambda: bool(begun(tmp_path)))
    finally:
        parent.kill()
        parent.wait()
    until((tmp_path / "0.saved").exists)
    until(lambda: not _runs(begun(tmp_path)[0]))


def _runs(process: int) -> bool:
    """Not gone, nor ended and waiting for someone to ask how."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Memory:
    value = False


class Exited(BaseException):
    """Instead of `os._exit`."""


@pytest.fixture
def exits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    statuses: list[int] = []

    def leave(status: int) -> None:
        statuses.append(status)
        raise Exited

    monkeypatch.setattr(os, "_exit", leave)
    return statuses


def test_a_worker_that_gets_sigterm_ends_its_job_first(exits: list[int]) -> None:
    worker = Worker(Memory())

    def job(stop: Callable[[], bool]) -> None:
        assert not stop()
        worker.handle(signal.SIGTERM, None)
        assert stop()

    with pytest.raises(Exited):
        worker.run(job, ())
    assert exits == [143]
    with pytest.raises(Exited):
        Worker(Memory()).handle(signal.SIGTERM, None)  # without a job
    assert exits == [143, 143]


def test_a_worker_without_a_parent_ends_its_job_first(exits: list[int]) -> None:
    worker = Worker(Memory())
    gone, told = threading.Event(), []

    def watched() -> None:
        with pytest.raises(Exited):
            worker.watch(gone.wait)
        told.append(worker.busy.locked())

    thread = threading.Thread(target=watched)
    thread.start()

    def job(stop: Callable[[], bool]) -> str:
        assert not stop()
        gone.set()
        until(stop)
        assert exits == []
        return "saved"

    assert worker.run(job, ()) == "saved"
    thread.join()
    assert exits == [1]
    with pytest.raises(Stopped):
        worker.run(job, ())

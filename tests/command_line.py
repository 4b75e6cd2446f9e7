"""Commands of `metatc2` and scripts, run in this process: starting an interpreter takes longer than most of them do."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch

from metatc2.cli import main

#: Seconds after which a test that would hang ends, whatever else the machine has to do.
PATIENCE = 3600


def call(*arguments: str) -> int:
    """Exit status of a command."""
    try:
        main(arguments)
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def run_script(path: Path, *arguments: str) -> int:
    """Exit status of a script, run as ``python path ...`` would: its folder is searched first, its seeds stay its own."""
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng():
        patch.setattr("sys.argv", [str(path), *arguments])
        patch.syspath_prepend(str(path.parent))
        try:
            runpy.run_path(str(path), run_name="__main__")
        except SystemExit as stop:
            return int(stop.code or 0)
        finally:
            torch.set_num_threads(threads)
    return 0

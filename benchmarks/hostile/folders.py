"""Whole run folders in which one file was changed, and command lines."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from hypothesis import strategies as st

from hostile.changes import PIECES, Draw, changed
from hostile.kind import Kind, Prepared
from metatc2.cli.app import PARSER
from metatc2.experiment import run as runs
from metatc2.experiment.config import merge, read_task
from metatc2.experiment.transfer import transfer
from metatc2.report.methods import read_methods

_FILES = (
    "config.toml",
    "encoder.safetensors",
    "calibrator.safetensors",
    "transfer.json",
    "transfer.safetensors",
    "metrics.jsonl",
    "checkpoint/step-00000002/state.json",
    "checkpoint/step-00000002/state.safetensors",
)
_SETTINGS: dict[str, Any] = {
    "data": {"image_size": 16, "split": "all"},
    "encoder": {"name": "conv4", "width": 4},
    "episode": {"batch": 8, "tasks": 2},
    "calibration": {"name": "tc2", "factors": 2, "inner_steps": 1, "adapt": "shared"},
    "views": {"recipe": "none"},
    "trainer": {"steps": 2, "checkpoint_every": 1, "log_every": 1},
    "transfer": {
        "allow_seen": True,
        "few-shot": {"ways": [2], "shots": [1], "query": 2, "episodes": 3, "heads": ["cosine"]},
    },
}


def _finished(folder: Path) -> Path:
    noise = folder / "noise.npz"
    rng = np.random.default_rng(0)
    np.savez(noise, images=rng.integers(0, 256, (24, 16, 16), dtype=np.uint8), labels=np.arange(24) % 4)
    config = merge(merge(read_task(f"npz:{noise}"), _SETTINGS, ""), {"transfer": {"targets": [f"npz:{noise}:all"]}}, "")
    transfer(runs.pretrain(config, folder / "run"))
    return folder / "run"


def _changed_file(folder: Path) -> Draw:
    run = _finished(folder)
    draws = {name: changed([(run / name).read_bytes()]) for name in _FILES}

    def draw(rng: Random) -> tuple[str, bytes]:
        name = rng.choice(_FILES)
        return name, draws[name](rng)

    return draw


def _loaded(folder: Path) -> Prepared:
    strategy, run = _changed_file(folder), folder / "run"

    def read(given: tuple[str, bytes]) -> object:
        name, content = given
        earlier = (run / name).read_bytes()
        (run / name).write_bytes(content)
        try:
            read_methods([run])
            return runs.load_run(run)
        finally:
            (run / name).write_bytes(earlier)

    return strategy, read


def _resumed(folder: Path) -> Prepared:
    strategy, run = _changed_file(folder), folder / "run"
    os.rename(run, folder / "kept")

    def read(given: tuple[str, bytes]) -> object:
        name, content = given
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(folder / "kept", run)
        (run / "encoder.safetensors").unlink()
        (run / name).write_bytes(content)
        return runs.resume(run)

    return strategy, read


def _words(folder: Path) -> Prepared:
    options = sorted({option for own in PARSER.options.values() for option in own} - {"--help"})
    odd = st.sampled_from([piece.decode(errors="surrogateescape") for piece in PIECES if len(piece) < 50])
    word = st.one_of(st.sampled_from(options), odd, st.text(max_size=8), st.sampled_from(("3", "x", "a=1", "None")))
    words = st.tuples(st.sampled_from([*PARSER.names, "x"]), st.lists(word, max_size=6)).map(
        lambda pair: [pair[0], *pair[1]]
    )
    return words.filter(lambda line: not {"--help", "-h", "--version"} & set(line)), PARSER.parse


KINDS = (
    Kind("run folder, loaded", "a finished run with a changed file, for a report and its encoder", 10, _loaded),
    Kind("run folder, resumed", "a cut run with a changed file", 5, _resumed),
    Kind("words", "a command line, parsed", 5, _words),
)

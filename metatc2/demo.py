"""`metatc2 demo`: is calibration worth it? Pre-train on Latin, transfer to scripts never seen, compare fairly, draw it."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress, TimeElapsedColumn
from torch import Tensor

from metatc2 import runs
from metatc2.build import build_views
from metatc2.config import Config, override, read_task
from metatc2.data import ImageStore, load
from metatc2.report import MethodCurve, comparison_table, demo_figure, transfer_table

OBJECTIVES = {"simclr": "SimCLR", "barlow": "Barlow Twins"}
METHODS = {"none": "plain", "standardise": "standardised", "tc2": "TC²"}
SCRIPTS = ("greek", "cyrillic", "georgian", "armenian")
SETTINGS = (
    "encoder.width=32",
    "trainer.steps=200",
    "trainer.threads=1",
    "trainer.checkpoint_every=1000",
    f"transfer.targets={[f'glyphs:{script}' for script in SCRIPTS]}",
    "transfer.way=[20]",
    "transfer.shot=[1, 5]",
    "transfer.query=5",
    "transfer.episodes=400",
    "transfer.heads=['cosine']",
)


def demo_config(objective: str, calibration: str, seed: int) -> Config:
    """What the demo trains: the task `glyphs`, made small enough for two CPU cores."""
    named = [f"objective.name={objective}", f"calibration.name={calibration}", f"trainer.seed={seed}"]
    return override(read_task("glyphs"), [*SETTINGS, *named], where="demo")


def run_demo(folder: Path, *, seeds: int = 3) -> None:
    """Train, transfer, compare, draw.

    Args:
        folder: gets the runs, ``demo.json`` and ``demo.png``; an earlier demo there is replaced.
        seeds: seeds a method.
    """
    console = Console()
    started = time.perf_counter()
    store = load("glyphs", image_size=28)  # rendered and cached once, before the workers ask for it
    latin = store.rows("meta-train")
    console.print(
        f"{len(latin)} images of {len(store.labels[latin].unique())} Latin letters to learn from, without their labels.\n"
        f"{len(OBJECTIVES)} objectives × {len(METHODS)} methods × {seeds} seeds, the same batches and views for each "
        "method of a seed.",
        highlight=False,
    )
    jobs = [(o, m, s) for s in range(seeds) for o in OBJECTIVES for m in METHODS]
    paths = {job: folder / f"{job[0]}-{job[1]}-s{job[2]}" for job in jobs}
    for path in paths.values():
        shutil.rmtree(path, ignore_errors=True)
    # One thread a process: small convolutions gain more from a second process than from a second thread.
    workers = max(1, min(len(jobs), torch.get_num_threads()))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool, Progress(
        *Progress.get_default_columns(), TimeElapsedColumn(), console=console, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("pre-train and transfer", total=len(jobs))
        for done in as_completed([pool.submit(_job, *job, paths[job]) for job in jobs]):
            note = done.result()
            bar.advance(task)
            if not console.is_terminal:
                console.print(note, highlight=False)
    _report(folder, paths, seeds, store, console)
    console.print(f"{time.perf_counter() - started:.0f} s in all", highlight=False)


def _job(objective: str, calibration: str, seed: int, path: Path) -> str:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # alarms are in metrics.jsonl
    run = runs.pretrain(demo_config(objective, calibration, seed), path)
    runs.transfer(run)
    return f"{OBJECTIVES[objective]}, {METHODS[calibration]}, seed {seed}: {run.seconds:.0f} s"


def _report(
    folder: Path, paths: dict[tuple[str, str, int], Path], seeds: int, store: ImageStore, console: Console
) -> None:
    ...

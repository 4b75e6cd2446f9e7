"""The runs of the demo: pre-train on tasks that disagree, transfer, compare fairly, draw what TC² gains and loses."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import torch

from metatc2.cli._demo_findings import METHODS, SHOT, TARGETS, WAY, Demo
from metatc2.cli._worker_pool import Stopped, run_jobs
from metatc2.episodes.factor_tasks import LEVELS
from metatc2.errors import InputError
from metatc2.experiment import run as runs
from metatc2.experiment.build import build_data
from metatc2.experiment.config import Config, override, read_task
from metatc2.experiment.transfer import transfer
from metatc2.io.files import check_writable, write_atomically, writing
from metatc2.io.suggest import command
from metatc2.io.terminal import wide_console
from metatc2.io.writing import json_text
from metatc2.training.progress import jobs_bar
from metatc2.training.run_folder import RunFolder, State

LEVEL = "one-more"
# Fixed before any result was seen; size and steps by what two CPU cores do in a few minutes.
SETTINGS = (
    "data.image_size=28",
    "episode.tasks_differ_by=factor",
    f"episode.level={LEVEL}",
    "episode.tasks=4",
    "episode.batch=128",
    "encoder.width=64",
    "objective.name=simclr",
    "objective.temperature=0.2",
    "trainer.steps=250",
    "trainer.lr=0.002",
    "trainer.precision=bf16-mixed",
    "trainer.threads=1",
    "trainer.checkpoint_every=1000",
    f"transfer.targets={list(TARGETS)}",
    f"transfer.few-shot.ways=[{WAY}]",
    f"transfer.few-shot.shots=[{SHOT}]",
    "transfer.few-shot.query=15",
    "transfer.few-shot.episodes=600",
    "transfer.few-shot.heads=['cosine']",
)
# All take their negatives within a task: what differs is what a task may weigh, and what is asked of the representation.
OWN = {
    "plain": ("calibration.name=tasks",),
    "visreg": ("calibration.name=tasks", "regularizer.name=visreg", "regularizer.weight=1"),
    "tc2": ("calibration.name=tc2",),
}


def demo_config(method: str, seed: int, changes: Sequence[str] = ()) -> Config:
    """What the demo trains: the task `shapes`, its tasks made to disagree, small enough for two CPU cores.

    Args:
        method: one of `METHODS`.
        seed: of the run.
        changes: keys to set otherwise, as with ``--set``.

    >>> demo_config("tc2", 0).episode.tasks_differ_by
    'factor'
    """
    return override(read_task("shapes"), [*SETTINGS, *changes, *OWN[method], f"trainer.seed={seed}"], where="demo")


def run_demo(
    folder: Path, *, seeds: int = 3, changes: Sequence[str] = (), stop: Callable[[], bool] | None = None
) -> None:
    """Train, transfer, compare, draw.

    Args:
        folder: gets the runs, ``demo.json`` and ``demo.png``; an earlier demo there is replaced.
        seeds: seeds a method.
        changes: keys to set otherwise than the demo does, as with ``--set``.
        stop: asked several times a second; once it says yes, every process ends after the step it is at.

    Raises:
        InputError: if there is no seed, or something else than an earlier demo is in the folder.
        TrainingStopped: if `stop` said so.
    """
    if seeds < 1:
        raise InputError(f"demo: --seeds must be at least 1, got {seeds}; 3 are the fewest that allow a verdict")
    console = wide_console()
    started = time.perf_counter()
    kinds = ", ".join(notion.name for notion in LEVELS[LEVEL])
    console.print(
        "Rendered objects, without labels. Two images of a pair share shape and texture and, by the kind of their task,\n"
        f"{kinds}. No method is told which.\n"
        f"{len(METHODS)} methods × {seeds} seeds, the same images for each method of a seed.",
    )
    jobs = [(method, seed) for seed in range(seeds) for method in METHODS]
    paths = {(method, seed): folder / f"{method}-s{seed}" for method, seed in jobs}
    _remove_earlier_runs(folder, [RunFolder(path) for path in paths.values()])
    # One thread a process: small convolutions gain more from a second process than from a second thread.
    workers = max(1, min(len(jobs), torch.get_num_threads()))
    stopped = stop or (lambda: False)
    stopped()  # from here on a signal is a request
    given = [(method, seed, paths[method, seed], changes) for method, seed in jobs]
    try:
        with closing(run_jobs(_job, given, workers, stopped)) as notes, jobs_bar(console) as bar:
            task = bar.add_task("pre-train and transfer", total=len(jobs))
            for note in notes:
                bar.advance(task)
                if not console.is_terminal:
                    console.print(note)
    except Stopped as error:
        raise runs.TrainingStopped(
            f"the runs in {folder} are cut and the processes that trained them ended; to make them anew: "
            f"{command('demo', '--folder', folder)}"
        ) from error
    demo = Demo(paths, build_data(demo_config("plain", 0, changes)))
    console.print(demo.table())
    console.print(demo.comparison())
    console.print(demo.headline())
    with writing(folder, "name a folder of yours with --folder"):
        differences = [d.to_json() for of_method in demo.differences.values() for d in of_method]
        write_atomically(folder / "demo.json", json_text(differences).encode())
        demo.draw(folder / "demo.png")
    console.print(f"Picture: {folder / 'demo.png'}   numbers: {folder / 'demo.json'}")
    console.print(f"{time.perf_counter() - started:.0f} s in all")
    console.print(demo.next_steps())


def _remove_earlier_runs(folder: Path, runs: Sequence[RunFolder]) -> None:
    """Remove the runs of an earlier demo, which are marked as its own; nothing is removed if anything was not made by it."""
    other = "move it, or name another folder with --folder"
    whole = RunFolder(folder)
    for name in ("demo.json", "demo.png"):
        if (folder / name).exists() and not whole.is_of_demo:
            raise InputError(f"{folder / name} was not made by this demo, which would replace it; {other}")
    for run in runs:
        check_writable(run.path, "name a folder of yours with --folder")
        if not run.is_of_demo and run.state is not State.NEW:
            raise InputError(f"{run.path} was not made by this demo, which would replace it; {other}")
        if run.others:
            raise InputError(f"{run.path / run.others[0]} was not made by this demo; {other}")
    for own in (whole, *runs):
        own.mark_as_demo()  # before anything is written: a demo that is cut can be made again
    for run in runs:
        with run.owned():
            run.remove_run()


def _job(method: str, seed: int, path: Path, changes: Sequence[str], stop: Callable[[], bool]) -> str:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # alarms are in metrics.jsonl
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    run = runs.pretrain(demo_config(method, seed, changes), path, stop=stop)
    if stop():
        raise Stopped
    transfer(run)
    return f"{METHODS[method]}, seed {seed}: {run.seconds:.0f} s"

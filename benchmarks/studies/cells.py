"""Cells of a study: one configuration, one seed, one run folder; made in parallel, resumed where they were cut."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import re
import shutil
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from shared import KEEP_MEMORY, refuse

from metatc2.errors import InputError
from metatc2.experiment import run as runs
from metatc2.experiment.config import Config, flatten, override, read_config, read_task
from metatc2.experiment.transfer import transfer
from metatc2.training import TrainingDiverged
from metatc2.transfer import Row, read_results

STEPS = 300  # outer steps of a cell, where a study says nothing else
# What every cell of every study shares: small enough for a CPU core.
SMALL = (
    "encoder.width=64",
    "episode.batch=128",
    f"trainer.steps={STEPS}",
    "trainer.precision=bf16-mixed",
    "trainer.threads=1",
    "trainer.checkpoint_every=150",
    "transfer.few-shot.episodes=600",
    "transfer.few-shot.query=5",
    "transfer.few-shot.heads=['cosine']",
)


@dataclass(frozen=True)
class Evaluation:
    """Targets and the settings of their few-shot episodes.

    Args:
        targets: as for ``metatc2 transfer --to``.
        way, shot: as there.
    """

    targets: tuple[str, ...]
    way: tuple[int, ...]
    shot: tuple[int, ...] = (1, 5)


@dataclass(frozen=True)
class Cell:
    """One run of a study.

    Args:
        path: run folder.
        task: task file by name.
        settings: keys that differ from it, as with ``--set``; the seed is among them.
        evaluations: what its encoder is transferred to.
    """

    path: Path
    task: str
    settings: tuple[str, ...]
    evaluations: tuple[Evaluation, ...] = ()

    @property
    def config(self) -> Config:
        """The configuration, checked."""
        return override(read_task(self.task), [*SMALL, *self.settings], where=str(self.path))

    @property
    def few_shot(self) -> Any:
        """Options of its few-shot episodes, but for their shapes, which are those of its evaluations."""
        return self.config.protocols["few-shot"]

    @property
    def transfer_options(self) -> dict[str, Any]:
        """How it is evaluated, for `transfer`: by the study's settings, whatever those of the run folder were."""
        asked = self.few_shot
        return {
            "protocols": ("few-shot",),
            "episodes": asked.episodes,
            "query": asked.query,
            "heads": asked.heads,
        }

    @property
    def done(self) -> bool:
        """Whether the encoder has been trained and evaluated, with these settings."""
        return self._marked("evaluated")

    @property
    def diverged(self) -> bool:
        """Whether training with these settings ended in numbers that are not finite."""
        return self._marked("diverged")

    def _marked(self, name: str) -> bool:
        file = self.path / name
        return file.exists() and file.read_text() == self.stamp

    @property
    def stamp(self) -> str:
        """Of the settings that it is trained with, and of how it is evaluated."""
        asked = self.few_shot
        how = repr((self.evaluations, asked.episodes, asked.query, asked.heads))
        return f"{identity(self.config)} {sha256(how.encode()).hexdigest()}"


def identity(config: Config) -> str:
    """What makes a cell another one: every value that acts on its training.

    Code is not part of it: whoever changes a formula removes the run folders that it acts on.
    """
    facts = {key: value for key, value in flatten(config).items() if not key.startswith(("description", "transfer."))}
    facts["data.source"] = facts["data.source"].rpartition("/")[2]  # wherever its files lie
    return sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def make(cells: Iterable[Cell], *, workers: int) -> None:
    """Train and evaluate the cells that are not done, in order, one thread each.

    A cell that diverges is reported and marked: its folder holds the last good checkpoint.

    Args:
        cells: any that are done already are skipped.
        workers: processes at once.
    """
    wanted: dict[Path, Cell] = {}
    for cell in cells:
        if (other := wanted.get(cell.path)) and other.stamp != cell.stamp:
            refuse(f"two cells of different settings have one folder, {cell.path}")
        if not (cell.done or cell.diverged):  # a key that is misspelt is found now
            wanted[cell.path] = cell
    in_parallel(_make, wanted, workers=workers)


def in_parallel(work: Callable[[Cell, Path], str], wanted: Mapping[Path, Cell], *, workers: int) -> None:
    """Do what is wanted, in order, one thread each.

    Args:
        work: makes the file or folder of a cell; returns a sentence for the log.
        wanted: cells by file or folder.
        workers: processes at once.
    """
    os.environ.update(KEEP_MEMORY)  # read by the processes that are started, when they start
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        jobs = {pool.submit(work, cell, path): path for path, cell in wanted.items()}
        try:
            for i, job in enumerate(as_completed(jobs), 1):
                print(f"{i}/{len(wanted)} {jobs[job]}: {job.result()}", flush=True)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # else an error is told after hours, when all else is made
            raise


def prepare_worker() -> None:
    """One thread, and no warnings: the health of a run is recorded in its metrics.jsonl."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)


def _make(cell: Cell, path: Path) -> str:
    prepare_worker()
    try:
        run = trained_run(cell)
    except TrainingDiverged as error:
        (path / "diverged").write_text(cell.stamp)
        return f"diverged: {error}"
    rows = [
        row
        for part in cell.evaluations
        for row in transfer(run, targets=part.targets, ways=part.way, shots=part.shot, **cell.transfer_options)
    ]
    (path / "evaluated").write_text(cell.stamp)
    own = [row for row in rows if row.features == "encoder"]
    shown = ", ".join(f"{row.target} {row.way}-way {row.shot}-shot {100 * row.mean:.1f}" for row in own[:2])
    return f"{run.seconds:.0f} s; {shown}"


def trained_run(cell: Cell) -> runs.Run:
    """The run of a cell: loaded, resumed where it was cut, or made."""
    if _identity_of(cell.path / "config.toml") != identity(cell.config):
        shutil.rmtree(cell.path, ignore_errors=True)  # of other settings, or killed while it began
    if (cell.path / "encoder.safetensors").exists():
        return runs.load_run(cell.path)
    if (cell.path / "checkpoint").exists():
        return runs.resume(cell.path)
    shutil.rmtree(cell.path, ignore_errors=True)
    return runs.pretrain(cell.config, cell.path)


def _identity_of(written: Path) -> str | None:
    """Of a configuration that was written; None where there is none, or one with keys that are no more."""
    try:
        return identity(read_config(written)) if written.exists() else None
    except InputError:
        return None


def rows_of(cell: Cell, features: str = "encoder") -> list[Row]:
    """Results of a cell that is done, one a target, way and shot: as it is evaluated now, not as it may have been before."""
    asked = cell.few_shot
    return [
        row
        for row in read_results(cell.path / "transfer.json")[0]
        if (row.features, row.episodes, row.value("query_asked")) == (features, asked.episodes, asked.query)
        and row.head == asked.heads[0]
    ]


def mean_over(rows: Sequence[Row], targets: Sequence[str], way: int, shot: int) -> float:
    """Mean accuracy over the targets.

    Raises:
        ValueError: if one was not measured.
    """
    result = {row.target: row.mean for row in rows if (row.way, row.shot) == (way, shot)}
    if missing := [target for target in targets if target not in result]:
        raise ValueError(f"not measured: {', '.join(missing)}")
    return sum(result[target] for target in targets) / len(targets)


def seeds_in(folder: Path) -> list[int]:
    """Seeds of the cells in a folder, which their names end with."""
    names = [re.fullmatch(r".+-s(\d+)(\.json)?", path.name) for path in folder.glob("*")]
    return sorted({int(name[1]) for name in names if name})

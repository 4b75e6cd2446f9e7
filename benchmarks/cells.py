"""Cells of a study: one configuration, one seed, one run folder; made in parallel, resumed where they were cut."""

from __future__ import annotations

import argparse
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
from common import KEEP_MEMORY, positive, refuse

from metatc2.errors import InputError
from metatc2.experiment import run as runs
from metatc2.experiment.config import Config, flatten, override, read_config, read_task
from metatc2.experiment.transfer import transfer
from metatc2.io.files import write_atomically
from metatc2.training import TrainingDiverged
from metatc2.transfer import Row, mean_interval, read_results

STEPS = 300  # outer steps of a cell, where a study says nothing else
# What every cell of every study shares: small enough for a CPU core.
SMALL = (
    "encoder.width=64",
    "episode.batch=128",
    f"trainer.steps={STEPS}",
    "trainer.precision=bf16-mixed",
    "trainer.threads=1",
    "trainer.checkpoint_every=150",
    "transfer.episodes=600",
    "transfer.query=5",
    "transfer.heads=['cosine']",
)


@dataclass(frozen=True)
class Judged:
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
        judged: what its encoder is transferred to.
    """

    path: Path
    task: str
    settings: tuple[str, ...]
    judged: tuple[Judged, ...]

    @property
    def config(self) -> Config:
        """The configuration, checked."""
        return override(read_task(self.task), [*SMALL, *self.settings], where=str(self.path))

    @property
    def judging(self) -> dict[str, Any]:
        """How it is judged, for `transfer`: by the study's settings, whatever those of the run folder were."""
        asked = self.config.transfer
        return {
            "protocols": ("few-shot",),
            "episodes": asked.episodes,
            "query": asked.query,
            "heads": asked.heads,
        }

    @property
    def done(self) -> bool:
        """Whether the encoder has been trained and judged, with these settings."""
        judged = self.path / "judged"
        return judged.exists() and judged.read_text() == self.stamp

    @property
    def diverged(self) -> bool:
        """Whether training with these settings ended in numbers that are not finite."""
        file = self.path / "diverged"
        return file.exists() and file.read_text() == self.stamp

    @property
    def stamp(self) -> str:
        """Of the settings that it is trained with, and of how it is judged."""
        asked = self.config.transfer
        how = repr((self.judged, asked.episodes, asked.query, asked.heads))
        return f"{identity(self.config)} {sha256(how.encode()).hexdigest()}"


def identity(config: Config) -> str:
    """What makes a cell another one: every value that acts on its training.

    Code is not part of it: whoever changes a formula removes the run folders that it acts on.
    """
    facts = {key: value for key, value in flatten(config).items() if not key.startswith(("description", "transfer."))}
    facts["data.source"] = facts["data.source"].rpartition("/")[2]  # wherever its files lie
    return sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def make(cells: Iterable[Cell], *, workers: int) -> None:
    """Train and judge the cells that are not done, in order, one thread each.

    A cell that diverges is told and marked: its folder holds the last good checkpoint.

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
        for i, job in enumerate(as_completed(jobs), 1):
            print(f"{i}/{len(wanted)} {jobs[job]}: {job.result()}", flush=True)


def quiet() -> None:
    """A worker's manners: one thread, and no word of its own; alarms are in metrics.jsonl."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)


def _make(cell: Cell, path: Path) -> str:
    quiet()
    try:
        run = trained_run(cell)
    except TrainingDiverged as error:
        (path / "diverged").write_text(cell.stamp)
        return f"diverged: {error}"
    rows = [
        row
        for part in cell.judged
        for row in transfer(run, targets=part.targets, way=part.way, shot=part.shot, **cell.judging)
    ]
    (path / "judged").write_text(cell.stamp)
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
    """Results of a cell that is done, one a target, way and shot: as it is judged now, not as it may have been before."""
    asked = cell.config.transfer
    return [
        row
        for row in read_results(cell.path / "transfer.json")[0]
        if (row.features, row.episodes, row.value("query_asked")) == (features, asked.episodes, asked.query)
        and row.head == asked.heads[0]
    ]


def row_file(cell: Cell) -> Path:
    """Where what a study measures of a cell is kept: one JSON file beside the run folder."""
    return cell.path.with_name(f"{cell.path.name}.json")


def keep(cell: Cell, path: Path, facts: Mapping[str, Any]) -> None:
    """Write what was measured of a cell, all of it or nothing."""
    write_atomically(path, json.dumps({"identity": identity(cell.config), **facts}).encode())


def kept(cell: Cell, of: Callable[[Cell], Path] = row_file) -> dict[str, Any] | None:
    """What was measured of a cell with these settings; None where it is not there.

    Args:
        cell: see `Cell`.
        of: where it is kept.
    """
    file = of(cell)
    if not file.exists():
        return None
    found: dict[str, Any] = json.loads(file.read_text())
    return found if found.pop("identity") == identity(cell.config) else None


def restore(results: Path, cell_of: Callable[[Mapping[str, Any]], Cell | None]) -> None:
    """Go on from committed results: rows that were measured with a cell's settings are kept as if they were made here.

    Args:
        results: file that `common.write` wrote; none is as good as an empty one.
        cell_of: the cell of a row; None for a row that is no cell's, or one of an arm that is no more.
    """
    if not results.exists():
        return
    for row in json.loads(results.read_text())["rows"]:
        if "identity" not in row:
            continue
        cell = cell_of(row)
        if cell is None or row_file(cell).exists() or row["identity"] != identity(cell.config):
            continue
        cell.path.parent.mkdir(parents=True, exist_ok=True)
        keep(cell, row_file(cell), {key: value for key, value in row.items() if key != "identity"})


def missing(cells: Iterable[Cell], of: Callable[[Cell], Path] = row_file) -> dict[Path, Cell]:
    """Cells that are not measured yet, by the file that is wanted of each, in order; arguments as those of `kept`."""
    return {of(cell): cell for cell in cells if kept(cell, of) is None}


def study_parser(about: str | None, *, runs: str, results: Path, seeds: int) -> argparse.ArgumentParser:
    """Arguments that every study has: seeds, workers, where runs lie and results go, and only to gather."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=positive, default=seeds)
    parser.add_argument("--workers", type=positive, default=2)
    parser.add_argument("--runs", type=Path, default=Path(runs))
    parser.add_argument("--json", type=Path, default=results)
    parser.add_argument("--collect", action="store_true", help="make nothing, only gather")
    return parser


def rounded(value: Any) -> Any:
    """The same with numbers of four digits, as committed results hold them."""
    if isinstance(value, list):
        return [rounded(part) for part in value]
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value


def read_controls(folder: Path) -> list[dict[str, Any]]:
    """Rows of what needs no training, where they were measured."""
    file = folder / "controls.json"
    found: list[dict[str, Any]] = rounded(json.loads(file.read_text())) if file.exists() else []
    return found


def paired(values: Sequence[float], seeds: Sequence[int]) -> dict[str, Any]:
    """Differences of pairs, one a seed, as a row shows them: mean, 95 % interval (None of one seed), and each."""
    mean, half = mean_interval(values) if len(values) > 1 else (values[0], None)
    return {"difference": mean, "ci95": half, "per_seed": list(values), "seeds": list(seeds)}


def seeds_in(folder: Path) -> list[int]:
    """Seeds of the cells in a folder, which their names end with."""
    names = [re.fullmatch(r".+-s(\d+)(\.json)?", path.name) for path in folder.glob("*")]
    return sorted({int(name[1]) for name in names if name})


def mean_over(rows: Sequence[Row], targets: Sequence[str], way: int, shot: int) -> float:
    """Mean accuracy over the targets.

    Raises:
        ValueError: if one was not measured.
    """
    found = {row.target: row.mean for row in rows if (row.way, row.shot) == (way, shot)}
    if missing := [target for target in targets if target not in found]:
        raise ValueError(f"not measured: {', '.join(missing)}")
    return sum(found[target] for target in targets) / len(targets)

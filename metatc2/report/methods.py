"""What run folders hold for a report, grouped into methods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from metatc2.errors import InputError
from metatc2.experiment.config import CodingRateMonitor, Config, PythonConfig, TrainerConfig, method_key, method_name
from metatc2.experiment.monitor import Measurement, read_monitor
from metatc2.experiment.results_folder import is_of_elsewhere, read_identity
from metatc2.experiment.run_config import read_run_config
from metatc2.io.run_files import CONFIG, IDENTITY, METRICS, RESULTS
from metatc2.io.suggest import SOURCE, command
from metatc2.report.conflict_file import read_conflict
from metatc2.report.factor_file import Known, read_known_factors
from metatc2.report.figures.conflict import ConflictMeasure
from metatc2.training.metrics_file import read_metrics
from metatc2.training.run_folder import RunFolder, State
from metatc2.transfer import RANDOM_ENCODER, RAW_PIXELS, Row, read_results
from metatc2.transfer.evaluate import CONTROLS
from metatc2.transfer.row_filter import EVERY_ROW, RowFilter


@dataclass(frozen=True)
class Folder:
    """One run.

    Args:
        path: run folder.
        config: what it was trained with.
        metrics: records of ``metrics.jsonl``, in order.
        rows: of ``transfer.json``; None where the transfer was not measured yet.
        conflict: of ``diagnose.json``; None where there is none.
        known_factors: of ``diagnose.json``; empty where there are none.
        monitor: of ``monitor.jsonl``; empty where the run was not monitored.
        elsewhere: whether the folder holds results alone, of an encoder that was trained elsewhere.
    """

    path: Path
    config: Config
    metrics: Sequence[dict[str, Any]]
    rows: Sequence[Row] | None
    conflict: Sequence[ConflictMeasure] | None
    known_factors: Known = field(default_factory=dict)
    monitor: Sequence[Measurement] = ()
    elsewhere: bool = False

    @property
    def shape(self) -> str:
        """Of the images that the encoder got, ``"C × H × W"``."""
        data = self.config.data
        return _shape(self.rows or ()) if self.elsewhere else f"{data.channels} × {data.image_size} × {data.image_size}"

    @property
    def network(self) -> object:
        """What tells the untrained encoder from that of other folders."""
        return self.config.learner if self.elsewhere else self.config.encoder

    @property
    def seed(self) -> int:
        """Of pre-training."""
        return self.config.trainer.seed

    @property
    def steps(self) -> int:
        """Of pre-training: as many as were asked for, or fewer where the monitor ended it."""
        asked = self.config.trainer.steps
        may_end = isinstance(self.config.monitor, CodingRateMonitor) and self.config.monitor.stop_after is not None
        ended = may_end and self.monitor and RunFolder(self.path).state is State.FINISHED
        return min(asked, self.monitor[-1].step) if ended else asked


@dataclass(frozen=True)
class Method:
    """Runs that differ in their seed alone, in the order of their seeds.

    Args:
        name: unlike that of every other method of the report.
        folders: one a seed.
    """

    name: str
    folders: Sequence[Folder]

    @property
    def config(self) -> Config:
        """Of its first seed."""
        return self.folders[0].config

    @property
    def elsewhere(self) -> bool:
        """See `Folder`."""
        return self.folders[0].elsewhere


def read_methods(paths: Sequence[Path], chosen: RowFilter = EVERY_ROW) -> list[Method]:
    """Read run folders; methods in the order in which they are first named.

    Args:
        paths: run folders, and folders of results of other encoders (``metatc2 transfer ENCODER --out DIR``).
        chosen: which of their results are shown.

    Raises:
        InputError: if there is none, one is not a run folder, a file in it is damaged, a method has a seed twice, or no result
            is chosen.
    """
    if not paths:
        example = command("report", "runs/tc2", "runs/plain", "--out", "report.html")
        raise InputError(f"report: no run folder is named; write e.g. {example}")
    groups: dict[str, list[Folder]] = {}
    folders = {path: read_folder(path) for path in paths}
    chosen.require((row for folder in folders.values() for row in folder.rows or ()), "report")
    for path, folder in folders.items():
        if folder.rows is not None:
            folder = replace(folder, rows=[row for row in folder.rows if chosen.keeps(row)])
        same = groups.setdefault(method_key(folder.config), [])
        for other in same:
            if other.seed == folder.seed:
                raise InputError(
                    f"report: {other.path} and {path} are the same method with the same seed {folder.seed}; name one of them"
                )
        same.append(folder)
    names = [method_name(group[0].config) for group in groups.values()]
    # The names that `metatc2.experiment.compare.compare` gives.
    return [
        Method(f"{name} ({group[0].path})" if names.count(name) > 1 else name, sorted(group, key=lambda f: f.seed))
        for name, group in zip(names, groups.values(), strict=True)
    ]


def lacking(folders: Sequence[Folder], what: str, *words: str) -> list[str]:
    """A sentence about what some run folders lack and how to get it; none if there is no such folder.

    Args:
        folders: run folders.
        what: they lack.
        words: the sub-command that makes it, and what stands before the folder.
    """
    paths = [str(folder.path) for folder in folders]
    if not paths:
        return []
    one = len(paths) == 1
    how = f"Run: {command(*words, folders[0].path)}" if one else f"Run for each of them: {command(*words, 'DIR')}"
    return [f"{what}: {', '.join(paths)}. {how}"]


def read_folder(path: Path) -> Folder:
    """Read one run folder, or the results of another encoder.

    Raises:
        InputError: if it is neither, or a file in it is damaged.
    """
    results = path / RESULTS
    if path.is_file():
        raise InputError(_about_file(path))
    if is_of_elsewhere(path):
        rows = read_results(results)[0]
        return Folder(path, _config_of_results(read_identity(path), rows), [], rows, None, elsewhere=True)
    return Folder(
        path,
        read_run_config(path),
        read_metrics(path / METRICS),
        read_results(results)[0] if results.exists() else None,
        read_conflict(path),
        read_known_factors(path),
        read_monitor(path),
    )


def _about_file(path: Path) -> str:
    """What to name instead of a file."""
    if path.name in (RESULTS, CONFIG, METRICS, IDENTITY):
        return f"report: {path} is a file of a folder; name the folder: {command('report', path.parent)}"
    return (
        f"report: {path} is a file, and a report is made of folders, which hold what differences need besides; name the run "
        f"folder or that of --out: {command('transfer', 'ENCODER', '--to', SOURCE, '--out', 'DIR')}, then "
        f"{command('report', 'DIR')} (a file of metatc2 fuse --json is given with --fusion)"
    )


def _config_of_results(held: Mapping[str, Any], rows: Sequence[Row]) -> Config:
    """What is known of an encoder that was trained elsewhere: its name, its seed, and the images that it got."""
    learner = PythonConfig(method=held["name"], settings=f"images of {_shape(rows)}")
    return Config(learner=learner, trainer=TrainerConfig(seed=held["seed"]))


def rows_of(methods: Sequence[Method]) -> Iterator[tuple[Method, Folder, Row]]:
    """Every row with its method and folder: those of encoders, then those of the controls that stand beside all methods."""
    every = [(method, folder, row) for method in methods for folder in method.folders for row in folder.rows or ()]
    for control in (False, True):
        yield from (one for one in every if (one[2].features in (RANDOM_ENCODER, RAW_PIXELS)) == control)


def _shape(rows: Sequence[Row]) -> str:
    return next((row.image_shape for row in rows if row.features not in CONTROLS and row.image_shape), "another size")

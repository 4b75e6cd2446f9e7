"""What result folders hold, side by side: paired differences of methods, and transfer matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from metatc2.errors import InputError
from metatc2.experiment.config import method_key, method_name
from metatc2.experiment.results_folder import is_of_elsewhere, read_identity
from metatc2.experiment.run_config import read_run_config
from metatc2.io.run_files import CONFIG, RESULTS
from metatc2.io.suggest import command
from metatc2.transfer import MEAN_TARGET, Difference, Matrix, RunResults, read_results, transfer_matrices
from metatc2.transfer import compare as compare_runs
from metatc2.transfer.evaluate import CONTROLS
from metatc2.transfer.row_filter import EVERY_ROW, RowFilter


def compare(paths: Sequence[Path], *, features: str = "encoder", chosen: RowFilter = EVERY_ROW) -> list[Difference]:
    """Paired differences of the first run's method against every other method among the runs.

    Args:
        paths: run folders with a ``transfer.json``; those that differ in their seed alone are one method.
        features: which rows, see `Row.features`.
        chosen: which of them are told. Holm's correction is over all targets that were measured, so that what is looked at
            does not decide what is found; a mean over targets is over those that are chosen.

    Raises:
        InputError: if fewer than two methods are given or their rows do not belong together.
    """
    groups = _measured(_named(paths, "compare"))
    chosen.require((row for group in groups.values() for run in group for row in run.rows), "compare")
    if len(groups) < 2:
        raise InputError(
            "compare: all runs given have the same configuration up to their seed; name at least one run of another method"
        )
    first, *others = _named_apart(list(groups.values()))
    return [difference for other in others for difference in _chosen(first, other, features, chosen)]


def matrices(paths: Sequence[Path], *, features: str = "encoder", chosen: RowFilter = EVERY_ROW) -> list[Matrix]:
    """The transfer matrices of some runs, one a protocol, of the rows that are chosen; see `transfer_matrices`."""
    named = _named_apart(list(_measured(_named(paths, "matrix")).values()))
    runs = [run for group in named for run in group]
    chosen.require((row for run in runs for row in run.rows), "matrix")
    return transfer_matrices(_of_rows(runs, chosen), features=features)


def are_seeds_of_one_method(paths: Sequence[Path]) -> bool:
    """Whether runs differ in their seed alone, so that a mean over them is one over seeds.

    Args:
        paths: run folders; of any other folder it is not known.

    Raises:
        InputError: if a configuration is damaged.

    >>> are_seeds_of_one_method([Path("no/such"), Path("no/such-s1")])
    False
    """
    if not all((path / CONFIG).exists() for path in paths):
        return False
    configs = [read_run_config(path) for path in paths]
    seeds = [config.trainer.seed for config in configs]
    return len(set(map(method_key, configs))) == 1 and len(set(seeds)) == len(seeds)


def _chosen(a: list[RunResults], b: list[RunResults], features: str, chosen: RowFilter) -> list[Difference]:
    everywhere = chosen.of_all_targets()
    differences = compare_runs(_of_rows(a, everywhere), _of_rows(b, everywhere), features=features)
    if not chosen.targets:
        return differences
    part = compare_runs(_of_rows(a, chosen), _of_rows(b, chosen), features=features)
    targets = {d.target for d in part} - {MEAN_TARGET}
    return [d for d in differences if d.target in targets] + [d for d in part if d.target == MEAN_TARGET]


def _of_rows(runs: list[RunResults], chosen: RowFilter) -> list[RunResults]:
    return [replace(run, rows=[row for row in run.rows if chosen.keeps(row)]) for run in runs]


def _named(paths: Sequence[Path], asking: str) -> Sequence[Path]:
    if not paths:
        raise InputError(f"{asking}: no run folder is named; write e.g. {command(asking, 'runs/tc2', 'runs/plain')}")
    return paths


def _measured(paths: Sequence[Path]) -> dict[str, list[RunResults]]:
    """Results of run folders, those together that differ in their seed alone."""
    groups: dict[str, list[RunResults]] = {}
    for path in dict.fromkeys(paths):
        if is_of_elsewhere(path):
            held = read_identity(path)
            rows, accuracies = read_results(path / RESULTS)
            shapes = sorted({row.image_shape for row in rows if row.features not in CONTROLS})
            measured = RunResults(str(path), held["name"], held["seed"], rows, accuracies)
            groups.setdefault(f"{held['name']} {shapes}", []).append(measured)
            continue
        config = read_run_config(path)
        rows, accuracies = read_results(path / RESULTS)
        measured = RunResults(str(path), method_name(config), config.trainer.seed, rows, accuracies)
        groups.setdefault(method_key(config), []).append(measured)
    return groups


def _named_apart(groups: list[list[RunResults]]) -> list[list[RunResults]]:
    """Methods that differ in a setting and not in their name are told apart by their first folder."""
    names = [group[0].method for group in groups]
    return [
        [replace(run, method=f"{run.method} ({group[0].label})") for run in group] if names.count(name) > 1 else group
        for name, group in zip(names, groups, strict=True)
    ]

"""What a study measures of each cell: kept in a JSON file beside its run folder, or restored from committed results."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cells import Cell, identity, prepare_worker, trained_run
from csv_results import Results, rounded

from metatc2.experiment.run import Run
from metatc2.io.files import write_atomically
from metatc2.training import TrainingDiverged

CONTROLS = "controls.json"


def row_file(cell: Cell) -> Path:
    """Where what a study measures of a cell is kept: one JSON file beside the run folder."""
    return cell.path.with_name(f"{cell.path.name}.json")


def keep(cell: Cell, path: Path, facts: Mapping[str, Any]) -> None:
    """Write what was measured of a cell, all of it or nothing."""
    write_atomically(path, json.dumps({"identity": identity(cell.config), **facts}).encode())


def kept(cell: Cell, path: Path | None = None) -> dict[str, Any] | None:
    """What was measured of a cell with these settings; None where it is not there.

    Args:
        cell: see `Cell`.
        path: where it is kept; `row_file` where None.
    """
    file = path or row_file(cell)
    if not file.exists():
        return None
    result: dict[str, Any] = json.loads(file.read_text())
    return result if result.pop("identity") == identity(cell.config) else None


def row(point: Any, at: Sequence[str], cell: Cell, path: Path | None = None) -> dict[str, Any] | None:
    """The row of a cell: what names its point, its identity and what was measured; None where it is not there.

    Args:
        point: where in the study the cell stands.
        at: its attributes that name it.
        cell, path: as for `kept`.
    """
    result = kept(cell, path)
    if result is None:
        return None
    return {**{key: getattr(point, key) for key in at}, "identity": identity(cell.config), **rounded(result)}


def measured(
    cell: Cell,
    path: Path,
    measure: Callable[[Run], Mapping[str, Any]],
    shown: Callable[[Mapping[str, Any]], str],
) -> str:
    """Train a cell in a process of its own and keep what is measured of its run, or that it diverged; a sentence for the log.

    Args:
        cell: see `Cell`.
        path: where it is kept.
        measure: from the run to what is kept besides its seconds.
        shown: what was measured, in words.
    """
    prepare_worker()
    try:
        run = trained_run(cell)
    except TrainingDiverged as error:
        keep(cell, path, {"diverged": True})
        return f"diverged: {error}"
    result = {"seconds": run.seconds, **measure(run)}
    keep(cell, path, result)
    return f"{run.seconds:.0f} s; {shown(result)}"


def missing(cells: Iterable[Cell], of: Callable[[Cell], Path] = row_file) -> dict[Path, Cell]:
    """Cells that are not measured yet, by the file that is wanted of each, in order.

    Args:
        cells: see `Cell`.
        of: where what is measured of one is kept.
    """
    return {of(cell): cell for cell in cells if kept(cell, of(cell)) is None}


def restore(
    results: Results,
    folder: Path,
    cell_of: Callable[[Mapping[str, Any]], Cell | None],
    of: Callable[[Cell], Path] = row_file,
) -> None:
    """Go on from committed results: rows that were measured with a cell's settings are kept as if they were made here.

    Controls, which no setting acts on, are kept where none have been measured.

    Args:
        results: none is as good as an empty file.
        folder: of the runs.
        cell_of: the cell of a row; None for a row of an arm that is no more.
        of: where what is measured of one is kept.
    """
    if not results.path.exists():
        return
    rows = results.read()
    for result in rows:
        cell = cell_of(result) if "identity" in result else None
        if cell is None or of(cell).exists() or result["identity"] != identity(cell.config):
            continue
        keep(cell, of(cell), {key: value for key, value in result.items() if key != "identity"})
    controls = [result for result in rows if "control" in result]
    if controls and not (folder / CONTROLS).exists():
        keep_controls(folder, controls)


def keep_controls(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows of what needs no training."""
    write_atomically(folder / CONTROLS, json.dumps(list(rows)).encode())


def read_controls(folder: Path) -> list[dict[str, Any]]:
    """Rows of what needs no training, where they were measured."""
    file = folder / CONTROLS
    result: list[dict[str, Any]] = rounded(json.loads(file.read_text())) if file.exists() else []
    return result

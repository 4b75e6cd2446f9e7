"""A folder of results: rows of one encoder, added to, with the name of the encoder beside them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from metatc2.errors import InputError
from metatc2.experiment.pretrained import Pretrained
from metatc2.experiment.weights import read_tensors
from metatc2.io.files import check_writable, write_atomically, writing
from metatc2.io.folder_lock import only_one
from metatc2.io.reading import read_json
from metatc2.io.run_files import CONFIG, IDENTITY, RESULTS
from metatc2.io.safetensors_file import tensors_sha256
from metatc2.io.source_names import split_name
from metatc2.io.writing import json_text
from metatc2.training.run_folder import RunFolder
from metatc2.transfer import Row, read_results, write_results

#: What to do where they cannot be written.
KEPT_ELSEWHERE = "results can be kept in another folder with --out DIR"


def check_folder(folder: Path, encoder: Pretrained, sha256: str) -> None:
    """Whether rows of an encoder can be added: asked before they are measured.

    Args:
        folder: there or not.
        encoder: whose rows.
        sha256: its checksum.

    Raises:
        InputError: if the folder cannot be written, holds results of another encoder, or its results cannot be read.
    """
    check_writable(folder, KEPT_ELSEWHERE)
    _check_identity(folder, encoder, sha256)
    _earlier(folder / RESULTS)


def add_rows(
    folder: Path, encoder: Pretrained, sha256: str, rows: Sequence[Row], accuracies: Mapping[str, Tensor]
) -> None:
    """Add rows to a folder's ``transfer.json``; those measured again are replaced.

    Args:
        folder: made if it is not there.
        encoder: whose rows.
        sha256: its checksum.
        rows: of `metatc2.transfer.evaluate`.
        accuracies: likewise.

    Raises:
        InputError: see `check_folder`.
    """
    with writing(folder, "name another folder with --out"), only_one(folder):
        # Read again: another process may have measured other targets meanwhile.
        _check_identity(folder, encoder, sha256)
        kept, known = _earlier(folder / RESULTS)
        measured = {row.key for row in rows}
        # Rows of an encoder that has been trained anew since do not belong to this folder any more.
        kept = [row for row in kept if row.key not in measured and row.encoder_sha256 in ("", sha256)]
        # The same images by another spelling of their source are no second target.
        again = {_but_for_the_name(row) for row in rows}
        dropped = {row.key for row in kept if row.target_sha256 and _but_for_the_name(row) in again}
        kept = [row for row in kept if row.key not in dropped]
        known = {key: values for key, values in known.items() if key not in dropped}
        _write_identity(folder, encoder, sha256)
        write_results(folder / RESULTS, [*kept, *rows], {**known, **accuracies})


def _but_for_the_name(row: Row) -> tuple[str, str]:
    kind, path = split_name(row.target)
    return replace(row, target=kind if path else row.target).key, row.target_sha256


def _earlier(path: Path) -> tuple[list[Row], dict[str, Tensor]]:
    return read_results(path) if os.path.lexists(path) else ([], {})


def _check_identity(folder: Path, encoder: Pretrained, sha256: str) -> None:
    if (folder / IDENTITY).exists():
        held = read_identity(folder)
        if held["sha256"] != sha256:
            raise InputError(
                f"{folder} holds the results of {held['name']}, another encoder; name another folder for those of "
                f"{encoder.name}"
            )
    elif _is_run_of_another(folder, sha256):
        raise InputError(
            f"{folder} is the run folder of another encoder; name another folder for the results of {encoder.name}"
        )


def _is_run_of_another(folder: Path, sha256: str) -> bool:
    """Whether rows of this encoder would take the place of those of a run's own."""
    own = RunFolder(folder).encoder
    return (folder / CONFIG).exists() and own.exists() and tensors_sha256(read_tensors(own)[0]) != sha256


def is_of_elsewhere(folder: Path) -> bool:
    """Whether a folder holds the results of an encoder that was trained elsewhere, and no run."""
    return (folder / IDENTITY).exists() and not (folder / CONFIG).exists()


def _write_identity(folder: Path, encoder: Pretrained, sha256: str) -> None:
    """A folder that is no run folder says whose results it holds."""
    if not (folder / CONFIG).exists() and not (folder / IDENTITY).exists():
        facts = {"name": encoder.name, "sha256": sha256, "source": encoder.source, "seed": encoder.seed}
        write_atomically(folder / IDENTITY, json_text(facts).encode())


def read_identity(folder: Path) -> dict[str, Any]:
    """Whose results a folder holds: name, sha256, source and seed.

    Raises:
        InputError: if the file is missing or damaged.
    """
    try:
        identity = read_json(folder / IDENTITY)
        if (
            type(identity["seed"]) is not int
            or not isinstance(identity["name"], str)
            or not isinstance(identity["sha256"], str)
        ):
            raise TypeError("name and sha256 must be texts and seed a whole number")
        return {"name": identity["name"], "sha256": identity["sha256"], "seed": identity["seed"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder / IDENTITY} cannot be read ({error}); delete the folder and measure again"
        ) from error

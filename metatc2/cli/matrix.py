"""`metatc2 matrix`: every source on every target."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from metatc2.cli._args import option
from metatc2.io.terminal import show


def matrix(
    runs: Annotated[tuple[str, ...], tyro.conf.Positional, option("DIR...")],
    /,
    *,
    features: str = "encoder",
) -> None:
    """The transfer matrix: every source on every target, with the rows "random encoder" and "raw pixels".

    For example:
        metatc2 transfer runs/latin --to glyphs:greek digits:all
        metatc2 transfer runs/digits --to glyphs:greek digits:meta-test
        metatc2 matrix runs/latin runs/digits

    Args:
        runs: Run folders with a transfer.json; those that differ in their seed alone are one source.
        features: Which rows: encoder, calibrated or adapted.
    """
    from metatc2.experiment import compare as result_folders
    from metatc2.report import matrix_tables

    show(matrix_tables(result_folders.matrices([Path(run) for run in runs], features=features)))

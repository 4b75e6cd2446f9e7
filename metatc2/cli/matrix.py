"""`metatc2 matrix`: every source on every target."""

from __future__ import annotations

from typing import Annotated

import tyro

from metatc2.cli._args import option
from metatc2.io.terminal import show_table


def matrix(
    runs: Annotated[tuple[str, ...], tyro.conf.Positional, option("DIR...")],
    /,
    *,
    features: str = "encoder",
    protocol: Annotated[tuple[str, ...], option("NAME", default="all")] = (),
    target: Annotated[tuple[str, ...], option("TARGET", default="all")] = (),
    head: Annotated[tuple[str, ...], option("NAME", default="all")] = (),
    seeds: Annotated[tuple[int, ...], option("S", default="all")] = (),
) -> None:
    """The transfer matrix: every source on every target, with the rows "random encoder" and "raw pixels".

    For example:
        metatc2 transfer runs/latin --to glyphs:greek digits:all
        metatc2 transfer runs/digits --to glyphs:greek digits:meta-test
        metatc2 matrix runs/latin runs/digits
        metatc2 matrix runs/latin runs/digits --protocol "5-way 1-shot" --head cosine

    Args:
        runs: Run folders with a transfer.json; those that differ in their seed alone are one source. A name that is no folder
            stands for those of its seeds: runs/tc2 for runs/tc2-s0, runs/tc2-s1 and so on.
        features: Which rows: encoder, calibrated or adapted.
        protocol: Show these alone, e.g. few-shot, "5-way 1-shot", knn.
        target: Show these alone, e.g. glyphs:greek, or glyphs for all of its splits.
        head: Show these classifiers alone, e.g. cosine, k=20.
        seeds: Take these of names that stand for several runs.
    """
    from metatc2.experiment import compare as result_folders
    from metatc2.experiment.seed_folders import run_folders
    from metatc2.report import matrix_tables
    from metatc2.transfer.row_filter import RowFilter

    chosen = RowFilter(protocol, target, head)
    show_table(matrix_tables(result_folders.matrices(run_folders(runs, seeds), features=features, chosen=chosen)))

"""`metatc2 compare`: paired differences between runs."""

from __future__ import annotations

from typing import Annotated

import tyro

from metatc2.cli._args import option
from metatc2.cli._json_file import json_target, write_json
from metatc2.io.terminal import show_table


def compare(
    runs: Annotated[tuple[str, ...], tyro.conf.Positional, option("DIR_A DIR_B")],
    /,
    *,
    features: str = "encoder",
    protocol: Annotated[tuple[str, ...], option("NAME", default="all")] = (),
    target: Annotated[tuple[str, ...], option("TARGET", default="all")] = (),
    head: Annotated[tuple[str, ...], option("NAME", default="all")] = (),
    seeds: Annotated[tuple[int, ...], option("S", default="all")] = (),
    json: Annotated[str | None, option("FILE")] = None,
) -> None:
    """Paired differences of the first run against each other run, target by target.

    Runs that differ in nothing but their seed are taken together: differences are then paired by seed and the interval is
    over seeds. With one seed the interval is over episodes and says nothing about other seeds.

    For example:
        metatc2 compare runs/tc2-s0 runs/tc2-s1 runs/tc2-s2 runs/plain-s0 runs/plain-s1 runs/plain-s2
        metatc2 compare runs/tc2 runs/plain --protocol few-shot --target glyphs:greek digits

    Args:
        runs: Run folders with a transfer.json (see `metatc2 transfer`), the method in question first. A name that is no
            folder stands for those of its seeds: runs/tc2 for runs/tc2-s0, runs/tc2-s1 and so on.
        features: What to compare: encoder, calibrated, or adapted (learners on labeled tasks, adapted to each episode).
        protocol: Show these alone, e.g. few-shot, "5-way 1-shot", knn.
        target: Show these alone, e.g. glyphs:greek, or glyphs for all of its splits. p is corrected over all
            targets that were measured, whichever are shown.
        head: Show these classifiers alone, e.g. cosine, k=20.
        seeds: Take these of names that stand for several runs.
        json: Write the differences to a file too.
    """
    file = json_target(json)

    from metatc2.experiment import compare as result_folders
    from metatc2.experiment.seed_folders import run_folders
    from metatc2.report import comparison_table
    from metatc2.transfer.row_filter import RowFilter

    differences = result_folders.compare(
        run_folders(runs, seeds), features=features, chosen=RowFilter(protocol, target, head)
    )
    show_table(comparison_table(differences))
    write_json(file, [difference.to_json() for difference in differences])

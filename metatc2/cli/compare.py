"""`metatc2 compare`: paired differences between runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from metatc2.cli._args import option
from metatc2.cli._json_file import json_target, write_json
from metatc2.io.terminal import show


def compare(
    runs: Annotated[tuple[str, ...], tyro.conf.Positional, option("DIR_A DIR_B")],
    /,
    *,
    features: str = "encoder",
    json: Annotated[str | None, option("FILE")] = None,
) -> None:
    """Paired differences of the first run against each other run, target by target.

    Runs that differ in nothing but their seed are taken together: differences are then paired by seed and the interval is
    over seeds. With one seed the interval is over episodes and says nothing about other seeds.

    For example:
        metatc2 compare runs/tc2-s0 runs/tc2-s1 runs/tc2-s2 runs/plain-s0 runs/plain-s1 runs/plain-s2

    Args:
        runs: Run folders with a transfer.json (see `metatc2 transfer`), the method in question first.
        features: What to compare: encoder, calibrated, or adapted (learners on labeled tasks, adapted to each episode).
        json: Write the differences to a file too.
    """
    target = json_target(json)

    from metatc2.experiment import compare as result_folders
    from metatc2.report import comparison_table

    differences = result_folders.compare([Path(run) for run in runs], features=features)
    show(comparison_table(differences))
    write_json(target, [difference.to_json() for difference in differences])

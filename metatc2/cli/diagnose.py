"""`metatc2 diagnose`: what a run has learned, and how far its tasks conflict."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from metatc2.cli._args import option
from metatc2.cli._json_file import json_target, write_json
from metatc2.io.run_files import DIAGNOSIS
from metatc2.io.terminal import show_table


def diagnose(
    run: Annotated[str, tyro.conf.Positional, option("DIR")],
    /,
    *,
    on: Annotated[str | None, option("SOURCE[:SPLIT]", default="those the run was trained on")] = None,
    against: Annotated[tuple[str, ...], option("ENCODER")] = (),
    episodes: int = 2,
    resplits: int = 39,
    max_images: int = 4096,
    seed: int = 0,
    json: Annotated[str | None, option("FILE")] = None,
) -> None:
    """Diagnose a run: spectra, alignment, uniformity, collapse, CKA, use of the factors, task conflict against its null.

    On shapes, whose images are rendered, it also says which of their factors the features tell. Writes DIR/diagnose.json,
    which `metatc2 report` draws.

    For example:
        metatc2 diagnose runs/tc2
        metatc2 diagnose runs/tc2 --on glyphs:greek --against runs/plain runs/tc2@blocks.2

    Args:
        run: Run folder.
        on: Whose images are looked at.
        against: Further encoders whose features are compared with this one's (CKA); ENCODER@LAYER for an inner stage.
        episodes: Episodes that task conflict and gradient agreement are measured on; more make both sharper.
        resplits: Random re-splits of each episode for the noise null; at least 39, for a 95 % interval.
        max_images: Images looked at, at most.
        seed: Of all draws.
        json: Write the result to a further file.
    """
    target = json_target(json, own=Path(run) / DIAGNOSIS)

    from metatc2.experiment import diagnose as diagnose_command
    from metatc2.experiment.seed_folders import require_one
    from metatc2.report.diagnosis_table import diagnosis_table

    require_one(run, ["diagnose"])
    diagnosis = diagnose_command.run(
        Path(run), on=on, against=against, episodes=episodes, resplits=resplits, max_images=max_images, seed=seed
    )
    show_table(diagnosis_table(diagnosis))
    write_json(target, diagnosis.to_dict())
